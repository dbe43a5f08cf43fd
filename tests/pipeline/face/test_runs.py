"""The public face: what `import clusterpipe as cp` gives, and a run in a notebook."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL.Image import Image
from program import paint

import clusterpipe as cp
from clusterpipe.cache import errors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face")
    paint(folder / "photos", per_kind=8)
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> cp.Run:
    settings = {"assign.k": 3, "assign.seeds": 1, "assign.restarts": 1, "refine.epochs": 1}
    return cp.run(
        home / "photos", run_dir=home / "run", settings=settings, until="assign", quiet=True
    )


@pytest.mark.parametrize("name", cp.__all__)
def test_every_name_is_there(name: str) -> None:
    value = getattr(cp, name)
    assert isinstance(value, str) if name == "__version__" else (value.__doc__ or "").strip()


def test_every_error_has_a_name() -> None:
    ours = {
        n
        for n, v in vars(errors).items()
        if isinstance(v, type) and v.__module__ == "clusterpipe.cache.errors"
    }
    assert ours <= set(cp.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(cp, "runn")
    assert {"run", "FeatureClusters"} <= set(dir(cp))


def test_importing_it_imports_nothing_else() -> None:
    program = (
        "import sys; before = set(sys.modules); import clusterpipe; "
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    ours = {name for name in done.stdout.split() if name.startswith("clusterpipe")}
    assert ours == {"clusterpipe"}
    assert not {"numpy", "torch", "rich"} & set(done.stdout.split())


def test_a_run_answers(run: cp.Run, home: Path) -> None:
    n = len(run.clusters)
    assert n == 24
    assert set(run.clusters.tolist()) == {0, 1, 2}
    assert len(run.captions) == 3
    assert "24 images in 3 clusters" in repr(run)
    table = run.table()
    assert list(table["cluster"]) == run.clusters.tolist()
    assert [run.captions[k] for k in run.clusters] == list(table["caption"])
    assert run.probabilities.shape == (n,)
    assert {"embeddings", "assignments"} <= set(run.artifacts)


def test_a_run_shows_itself(run: cp.Run) -> None:
    html = run._repr_html_()
    assert html.count("<tr>") == 1 + 3
    assert "24 images" in html
    assert isinstance(run.show(0), Image)
    with pytest.raises(cp.UsageError, match="there is no cluster 3: they are 0 to 2"):
        run.show(3)


def test_a_run_finds_and_predicts(run: cp.Run, home: Path) -> None:
    files = sorted((home / "photos").rglob("*.*"))[:2]
    answer = run.search(image=files[0], top=4)
    assert len(answer.hits) == 4
    assert answer.hits[0].is_query
    found = run.predict(files)
    place = {name: row for row, name in enumerate(run.table()["path"])}
    assert found.label.tolist() == [run.clusters[place[str(file)]] for file in files]
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, atol=1e-5)
    assert run.predict(str(files[0])).label.tolist() == found.label[:1].tolist()


def test_a_run_is_opened_again(run: cp.Run) -> None:
    again = cp.open(run.folder)
    assert again.config.get("assign.k") == 3
    assert (again.clusters == run.clusters).all()
    with pytest.raises(cp.MissingArtifact, match="does not exist"):
        cp.open(run.folder / "nowhere")


def test_a_run_without_clusters_says_so(home: Path) -> None:
    begun = cp.run(home / "photos", run_dir=home / "begun", until="embed", quiet=True)
    assert "no clusters yet" in repr(begun)
    assert "clusterpipe assign" in begun._repr_html_()
    with pytest.raises(cp.MissingArtifact):
        begun.table()


def test_a_config_stands_in_the_place_of_what_is_remembered(run: cp.Run) -> None:
    config = cp.Config().set("assign.k", 5, "test")
    other = cp.run(
        run.config.source.path,
        run_dir=run.folder.parent / "other",
        config=config,
        until="embed",
        quiet=True,
    )
    assert other.config.get("assign.k") == 5
    assert other.config.source == run.config.source


def test_captions_cannot_write_html(run: cp.Run) -> None:
    hostile = cp.open(run.folder)
    hostile.results.captions[0] = "<script>"
    assert "<script>" not in hostile._repr_html_()
