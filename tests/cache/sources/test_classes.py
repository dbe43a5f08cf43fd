import pytest

from clusterpipe.cache.sources.classes import classes_of


def named(paths: list[str]) -> list[str]:
    labels, _ = classes_of(paths)
    return [labels.class_name[k] if k >= 0 else "" for k in labels.label.tolist()]


def test_the_first_folder_is_the_class() -> None:
    paths = ["cat/1.jpg", "dog/old/2.jpg", "3.jpg"]
    assert named(paths) == ["cat", "dog", ""]
    assert classes_of(paths).split is None


def test_below_splits_it_is_the_second() -> None:
    paths = ["train/cat/1.jpg", "val/dog/2.jpg", "test/3.jpg", "4.jpg"]
    assert named(paths) == ["cat", "dog", "", ""]
    split = classes_of(paths).split
    assert split is not None
    assert split.tolist() == ["train", "val", "test", ""]


@pytest.mark.parametrize("paths", [["train/1.jpg", "val/2.jpg"], ["train/a/1.jpg", "bus/b/2.jpg"]])
def test_folders_that_only_look_like_splits(paths: list[str]) -> None:
    assert named(paths) == [path.split("/")[0] for path in paths]
    assert classes_of(paths).split is None


def test_nothing_has_no_class() -> None:
    assert named([]) == []
