import json
from pathlib import Path
from typing import Any

import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources.coco import open_json

KNOWN = {
    "images": [
        {"id": 7, "file_name": "a.jpg"},
        {"id": 8, "file_name": "b.jpg"},
        {"id": 9, "file_name": "sub/c.jpg"},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
    "annotations": [
        {"image_id": 7, "category_id": 3},
        {"image_id": 7, "category_id": 3},
        {"image_id": 8, "category_id": 3},
        {"image_id": 8, "category_id": 1},
    ],
}


def written(path: Path, known: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(known))
    return path


def pictures(folder: Path) -> None:
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


@pytest.mark.parametrize(
    "place", ["annotations", "val2017", "annotations/images", "images/val2017"]
)
def test_annotations(tmp_path: Path, place: str) -> None:
    pictures(tmp_path / place)
    source = open_json(written(tmp_path / "annotations" / "instances_val2017.json", KNOWN))
    manifest = source.manifest
    assert manifest.id.tolist() == ["a.jpg", "b.jpg", "sub/c.jpg"]
    assert source.read(2) == b"sub/c.jpg"
    assert manifest.label is not None
    assert manifest.class_name is not None
    assert manifest.label.tolist() == [0, -1, -1]
    assert manifest.class_name.tolist() == ["dog"]
    assert manifest.remarks == ("1 images show several categories, and have no label",)


def test_our_own_export_is_read_back(tmp_path: Path) -> None:
    pictures(tmp_path)
    rows = [
        {"id": "one", "path": str(tmp_path / "a.jpg"), "label": "cat", "split": "train"},
        {"id": "two", "path": "b.jpg", "label": None, "split": None},
    ]
    manifest = open_json(written(tmp_path / "clusters.json", rows)).manifest
    assert manifest.id.tolist() == ["one", "two"]
    assert manifest.label is not None
    assert manifest.label.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"photos": []}, "neither COCO.*KeyError 'images'"),
        ([{"name": "a.jpg"}], "KeyError 'path'"),
        ({"images": [{"id": 1, "file_name": ["a"]}]}, "is no text"),
        ("text", "neither COCO"),
        ([{"path": ""}], "object 1: the path is empty"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, known: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_json(written(tmp_path / "x.json", known))


def test_broken_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match=r"x\.json is no JSON"):
        open_json(tmp_path / "x.json")
