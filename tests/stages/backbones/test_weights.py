"""Finding weights, and the settings beside them."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterpipe.cache.errors import UsageError, WeightsMissing
from clusterpipe.stages.backbones import parse
from clusterpipe.stages.backbones.weights import (
    HubFile,
    SettingsForm,
    agreed,
    readable_bytes,
    require,
    sha256,
)

FILE = HubFile("someone/model", ("model.safetensors", "pytorch_model.bin"))
SPEC = parse("dino=timm:some_model")


def put_into_cache(hub: Path, name: str) -> Path:
    """A file where huggingface_hub keeps it."""
    repository = hub / "models--someone--model"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text("abc")
    (snapshot / name).write_bytes(b"weights")
    return snapshot / name


def find(**options: bool) -> Path:
    return require(FILE, SPEC, parameters=lambda: 86_000_000, **{"download": False, **options})


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "w"
    file.write_bytes(b"abc" * 100_000)
    assert sha256(file) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_missing_weights_are_named_with_size_and_command(hub: Path, no_network: None) -> None:
    with pytest.raises(WeightsMissing) as caught:
        find()
    message = str(caught.value)
    assert "timm:some_model" in message
    assert "about 344 MB" in message
    assert "clusterpipe models fetch 'dino=timm:some_model'" in message


def test_offline_forbids_even_an_allowed_download(
    hub: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsMissing, match="env -u HF_HUB_OFFLINE clusterpipe"):
        find(download=True)


def test_the_cache_serves_without_network_and_the_best_name_first(
    hub: Path, no_network: None
) -> None:
    second = put_into_cache(hub, "pytorch_model.bin")
    assert find() == second
    first = put_into_cache(hub, "model.safetensors")
    assert find() == first


def test_the_cache_is_where_hf_home_says(tmp_path: Path) -> None:
    file = put_into_cache(tmp_path / "hub", "model.safetensors")
    code = (
        "from clusterpipe.stages.backbones.weights import HubFile;"
        "print(HubFile('someone/model', ('model.safetensors',)).cached())"
    )
    variables = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_CACHE", "HF_HOME")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**variables, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == str(file)


_STATED = {
    "someone/model": "0123456789abcdef",
    "someone/sound": hashlib.sha256(b"weights").hexdigest(),
    "someone/damaged": hashlib.sha256(b"others").hexdigest(),
}


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face protocol as one file needs: a repository's pytorch_model.bin."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        repository, _, file = self.path.strip("/").partition("/resolve/main/")
        held = file == "pytorch_model.bin" and repository in _STATED
        error = "EntryNotFound" if repository in _STATED else "GatedRepo"
        self.send_response(200 if held else 404 if error == "EntryNotFound" else 403)
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", f'"{_STATED.get(repository, "")}"')
        self.send_header("Content-Length", "7" if held else "0")
        if not held:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if body and held:
            self.wfile.write(b"weights")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


FETCH = """
import sys
from clusterpipe.cache.errors import DamagedArtifact, WeightsMissing
from clusterpipe.stages.backbones.weights import HubFile
for repository, *names in (line.split() for line in sys.argv[1:]):
    try:
        print(HubFile(repository, tuple(names)).fetch())
    except (DamagedArtifact, WeightsMissing) as error:
        print(str(error).splitlines()[0])
"""


def test_a_download_ends_in_the_cache_or_says_why_not(hub: Path, endpoint: str) -> None:
    """In a process of its own: huggingface_hub reads the address of its server on import."""
    wanted = [
        "someone/model model.safetensors pytorch_model.bin",
        "someone/model other.bin",
        "someone/gated a",
        "someone/sound pytorch_model.bin",
        "someone/damaged pytorch_model.bin",
    ]
    run = subprocess.run(
        [sys.executable, "-c", FETCH, *wanted],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(hub)},
        capture_output=True,
        text=True,
        check=True,
    )
    fetched, absent, refused, sound, damaged = run.stdout.splitlines()
    assert Path(fetched).read_bytes() == b"weights"
    assert FILE.cached() == Path(fetched)
    assert absent == "someone/model holds none of other.bin"
    assert refused.startswith("cannot download someone/gated: 403")
    assert Path(sound).read_bytes() == b"weights"
    assert damaged.endswith("came damaged and was removed: run the same command again")
    assert not Path(damaged.split(" came damaged")[0]).exists()


@pytest.mark.parametrize(
    ("count", "text"), [(1_712_000_000, "1.7 GB"), (86_000_000, "86 MB"), (400_000, "0.4 MB")]
)
def test_bytes_are_readable(count: int, text: str) -> None:
    assert readable_bytes(count) == text


# ---------------------------------------------------------------- settings beside weights

FORM = SettingsForm(
    example={"size": 224, "mean": [0.5, 0.5, 0.5], "resize_mode": "shortest", "quick_gelu": False},
    optional=("size",),
    choices={"resize_mode": ("shortest", "squash")},
)
GOOD = {"mean": [0, 0.5, 1], "resize_mode": "squash", "quick_gelu": True}


def settings(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "weights.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_settings_may_be_flat_or_as_published(tmp_path: Path) -> None:
    assert FORM.read(settings(tmp_path, GOOD | {"size": 32, "note": "mine"})) == GOOD | {"size": 32}
    published = {"model_cfg": {"quick_gelu": True, "embed_dim": 4}, "preprocess_cfg": GOOD}
    assert FORM.read(settings(tmp_path, published)) == GOOD


def test_what_the_form_shows_is_what_it_accepts(tmp_path: Path) -> None:
    shown = FORM.show(tmp_path / "weights.json")
    assert FORM.read(settings(tmp_path, shown[shown.index("{") :])) == dict(FORM.example)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"mean": [0, 0, 0], "quick_gelu": False}, "does not state 'resize_mode'"),
        (GOOD | {"mean": [0.5]}, r"mean = \[0.5\]"),
        (GOOD | {"resize_mode": "stretch"}, "resize_mode = 'stretch'"),
        (GOOD | {"quick_gelu": 1}, "quick_gelu = 1"),
        (GOOD | {"size": "big"}, "size = 'big'"),
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
    ],
)
def test_wrong_settings_name_the_file_and_the_key(
    tmp_path: Path, content: object, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        FORM.read(settings(tmp_path, content))
    assert "weights.json" in str(caught.value)


def test_only_unanimous_settings_are_agreed() -> None:
    assert agreed([{"a": 1}, {"a": 1}]) == {"a": 1}
    assert agreed([{"a": 1}, {"a": 2}]) is None
    assert agreed([]) is None
