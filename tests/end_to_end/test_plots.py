"""`clusterpipe plots`, and the plots that run-all leaves."""

from pathlib import Path

import numpy as np
from PIL import Image
from program import Command

NAMES = ["coding_length.png", "loss_terms.png", "similarity.png", "singular_values.png"]


def times(home: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (home / "runs/photos/plots").iterdir()}


def test_run_all_leaves_every_plot(finished: Path) -> None:
    folder = finished / "runs/photos/plots"
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    for name in NAMES:
        with Image.open(folder / name) as plot:
            assert min(plot.size) > 300
            assert np.unique(np.asarray(plot)).size > 20


def test_only_what_shows_something_new_is_drawn_again(home: Path, clusterpipe: Command) -> None:
    assert clusterpipe("plots", cwd=home).code == 0
    before = times(home)
    (home / "runs/photos/plots/mine.png").write_bytes(b"not drawn by clusterpipe")
    again = clusterpipe("plots", cwd=home)
    assert again.out.splitlines() == [f"runs/photos/plots/{name}" for name in _in_order()]
    assert before.items() <= times(home).items()
    done = clusterpipe("run-all", "photos", "--set", "assign.k=2", "--json", cwd=home)
    assert done.json()["plots"] == "runs/photos/plots"
    after = times(home)
    assert {name for name in before if before[name] != after[name]} == {"similarity.png"}
    assert "mine.png" in after


def test_what_cannot_be_drawn_names_the_command(home: Path, clusterpipe: Command) -> None:
    (home / "runs/photos/refined.h5").unlink()
    done = clusterpipe("plots", cwd=home)
    assert (done.code, done.out) == (0, "runs/photos/plots/coding_length.png\n")
    assert sorted(times(home)) == ["coding_length.png"]
    assert done.err.count("run `clusterpipe refine --run-dir runs/photos`") == 3
    (home / "runs/photos/k_estimate.h5").unlink()
    nothing = clusterpipe("plots", cwd=home)
    assert nothing.code == 4
    assert "run `clusterpipe estimate-k --run-dir runs/photos`" in nothing.err
    assert clusterpipe("plots", "--run-dir", "nowhere", cwd=home).code == 4


def _in_order() -> list[str]:
    return ["coding_length.png", "loss_terms.png", "singular_values.png", "similarity.png"]
