"""Exit codes, errors that name the remedy, help, and no network."""

from pathlib import Path

import pytest
from program import Command, paint, run_anew

from clusterpipe.pipeline.cli import COMMANDS

FORBID = """
import socket, pathlib
_real = socket.socket
class Guarded(_real):
    def __init__(self, family=-1, *args, **kwargs):
        if family in (-1, socket.AF_INET, socket.AF_INET6):
            pathlib.Path({log!r}).write_text("a socket was opened")
            raise OSError("the internet is forbidden here")
        super().__init__(family, *args, **kwargs)
def lookup(*args, **kwargs):
    pathlib.Path({log!r}).write_text("a name was looked up")
    raise OSError("the internet is forbidden here")
socket.socket = Guarded
socket.getaddrinfo = lookup
"""


def test_the_demonstration_runs_without_network(tmp_path: Path, clusterpipe: Command) -> None:
    log = tmp_path / "network.log"
    (tmp_path / "sitecustomize.py").write_text(FORBID.format(log=str(log)))
    done = run_anew(
        "run-all",
        "--limit",
        "190",
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": "0"},
    )
    assert done.code == 0, done.err
    assert not log.exists()
    for expected in (
        "190 images",
        "interval",
        "the truth is 19",
        "accuracy",
        "chance",
        "not a benchmark",
        "runs/demonstration",
        "pictures",
        "runs/demonstration/plots",
    ):
        assert expected in done.out
    assert "precision@20" not in done.out
    figures = clusterpipe("metrics")
    assert figures.code == 0, figures.err
    for expected in ("silhouette", "precision@20", "over seeds"):
        assert expected in figures.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run-all", "phots"], 2, "does not exist"),
        (["run-all", "phots", "--dry-run"], 2, "does not exist"),
        (["run-all", "--set", "refine.epoch=3"], 2, "there is no setting"),
        (["run-all", "--set", "asign.k=3"], 2, "did you mean assign.k"),
        (["run-all", "--until", "assing"], 2, "--until takes one of"),
        (["run-all", "--frce"], 2, "--force"),
        (["refine", "--run-dir", "nowhere"], 4, "nowhere does not exist"),
        (["embed"], 4, "clusterpipe run-all FOLDER"),
        (["status", "--run-dir", "nowhere"], 4, "clusterpipe run-all"),
        (["status"], 4, "clusterpipe run-all"),
        (["inspect", "absent.h5"], 4, "absent.h5 is missing"),
        (["export", "--to", "csv"], 4, "clusterpipe run-all"),
        (["run-all", "--set", 'embed.backbones=["clip=open_clp:ViT-B-32@openai"]'], 2, "open_clip"),
        (
            ["run-all", "--set", 'embed.backbones=["clip=open_clip:ViT-B-32@openai"]'],
            6,
            "models fetch",
        ),
    ],
)
def test_errors_have_their_code_and_name_the_remedy(
    arguments: list[str], code: int, message: str, clusterpipe: Command
) -> None:
    done = clusterpipe(*arguments)
    assert done.code == code, done.err
    assert message in done.err
    assert "Traceback" not in done.err


def test_debug_shows_the_traceback(clusterpipe: Command) -> None:
    done = clusterpipe("--debug", "run-all", "--set", "asign.k=3")
    assert done.code == 1
    assert "Traceback" in done.err


def test_a_dry_run_plans_and_estimates_and_writes_nothing(
    tmp_path: Path, clusterpipe: Command
) -> None:
    done = clusterpipe("run-all", "--dry-run")
    assert done.code == 0, done.err
    assert "embedding 760 images takes about" in done.out
    assert "missing" in done.out
    assert not (tmp_path / "runs").exists()


def test_another_source_of_the_same_name_is_refused(tmp_path: Path, clusterpipe: Command) -> None:
    for parent in ("a", "b"):
        paint(tmp_path / parent / "photos", per_kind=2)
    assert clusterpipe("run-all", "a/photos", "--until", "embed").code == 0
    done = clusterpipe("run-all", "b/photos")
    assert done.code == 2
    assert "belongs to" in done.err


def test_every_command_has_help_and_stands_in_the_docs(clusterpipe: Command) -> None:
    root = Path(__file__).parents[2]
    by_hand = [root / "README.md", *(root / "docs").glob("[!r]*/*.md")]  # all but the reference
    pages = "".join(path.read_text(encoding="utf-8") for path in by_hand)
    for command in (name for names in COMMANDS.values() for name in names):
        done = clusterpipe(command, "--help")
        assert done.code == 0
        assert len(done.out) > 200
        assert f"clusterpipe {command}" in pages, command


def test_a_file_of_settings_is_read_and_a_run_keeps_its_own(
    tmp_path: Path, clusterpipe: Command
) -> None:
    (tmp_path / "pipeline.toml").write_text("[assign]\nk = 4\n")
    assert clusterpipe("run-all", "--limit", "40", "--until", "embed").code == 0
    kept = (tmp_path / "runs/demonstration/pipeline.toml").read_text()
    assert "\nk = 4" in kept
    (tmp_path / "pipeline.toml").write_text("[assign]\nk = 5\n")
    again = clusterpipe("run-all", "--until", "embed")
    assert "keeps its own settings" in again.err
    applied = clusterpipe("run-all", "--until", "embed", "--config", "pipeline.toml")
    assert applied.code == 0
    assert "\nk = 5" in (tmp_path / "runs/demonstration/pipeline.toml").read_text()
