"""What a person moves between the folders of an export becomes corrections, and is not undone."""

from pathlib import Path

import pytest
from finished_run import FinishedRun, finished_run

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.results import export as exporting
from clusterpipe.pipeline.results.correcting import Speaker, record
from clusterpipe.pipeline.results.reading import Results, read_results
from clusterpipe.pipeline.results.sorted_folders import acts_of_folders

pytestmark = pytest.mark.slow


@pytest.fixture
def made(tmp_path: Path) -> FinishedRun:
    return finished_run(tmp_path)


def results_of(made: FinishedRun) -> Results:
    return read_results(made.run, made.config.source)


def export(made: FinishedRun, folder: Path, *, copy: bool = False) -> None:
    exporting.export(results_of(made), made.config.source, to="folders", output=folder, copy=copy)


def move(folder: Path, name: str, to: str) -> None:
    """Moves a link as a person does; where its name is taken, it gets another one."""
    (folder / to).mkdir(exist_ok=True)
    target = (folder / name).resolve()
    (folder / name).unlink()
    free = f"{Path(name).stem} (from {Path(name).parent.name}).png"
    (folder / to / free).symlink_to(target)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("copy", [False, True])
def test_nothing_moved_is_nothing_to_correct(copy: bool, made: FinishedRun, tmp_path: Path) -> None:
    export(made, tmp_path / "out", copy=copy)
    assert acts_of_folders(tmp_path / "out", Speaker(results_of(made))) == []
    export(made, tmp_path / "out", copy=copy)


def test_a_moved_image_is_offered_as_a_correction_and_stays_where_it_was_put(
    made: FinishedRun, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(made, out)
    move(out, "000_red-bicycle/003.png", "001_grey-cat")
    with pytest.raises(UsageError, match=r"an image was moved .* --from-folders"):
        export(made, out)
    acts = acts_of_folders(out, Speaker(results_of(made)))
    assert [(act.kind, list(act.images)) for act in acts] == [("move", ["kind0/003.png"])]
    record(made.config, made.run, acts)
    export(made, out)
    assert "003.png" not in names_in(out / "000_cluster")  # its caption is of before
    row = results_of(made).index.id.tolist().index("kind0/003.png")
    assert results_of(made).clusters.label[row] == 1
    own = [path for path in (out / "001_cluster").iterdir() if "kind0/003" in str(path.resolve())]
    assert len(own) == 1


def test_a_new_folder_is_a_cluster_of_its_own_under_its_name(
    made: FinishedRun, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(made, out)
    move(out, "000_red-bicycle/003.png", "red-kites")
    move(out, "001_grey-cat/004.png", "red-kites")
    record(made.config, made.run, acts_of_folders(out, Speaker(results_of(made))))
    results = results_of(made)
    new = results.captions.index("red kites")
    assert {str(results.index.id[row]) for row in results.members(new)} == {
        "kind0/003.png",
        "kind1/004.png",
    }


def test_a_renamed_folder_is_a_renamed_cluster(made: FinishedRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(made, out)
    (out / "002_blue-boat").rename(out / "sailing-ships")
    acts = acts_of_folders(out, Speaker(results_of(made)))
    assert [(act.kind, act.name) for act in acts] == [("rename", "sailing ships")]


def test_what_is_put_among_the_unassigned_is_rejected(made: FinishedRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(made, out)
    move(out, "000_red-bicycle/003.png", "unassigned")
    acts = acts_of_folders(out, Speaker(results_of(made)))
    assert [(act.kind, list(act.images)) for act in acts] == [("reject", ["kind0/003.png"])]


def test_a_folder_that_is_no_export_is_refused(made: FinishedRun, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("a")
    with pytest.raises(UsageError, match="no export"):
        acts_of_folders(tmp_path / "mine", Speaker(results_of(made)))
