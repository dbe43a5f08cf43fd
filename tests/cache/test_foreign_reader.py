"""Answers of the process that opens files of others, asked for in this one."""

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from records import provenance, sample

from clusterpipe.cache import artifact
from clusterpipe.cache.foreign_reader import answer
from clusterpipe.cache.schema import Refined


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as made:
        made["a/features"] = np.arange(12.0).reshape(4, 3)
        made["id"] = ["one", "two", "three", "four"]
        made["odd"] = np.zeros(3, [("x", "f4"), ("y", "f4")])
        made["away"] = h5py.ExternalLink("other.h5", "/x")
    return path


def asked(what: str, path: Path, **more: Any) -> Any:
    return answer({"what": what, "path": str(path), "memory": 1 << 30, **more})


def test_arrays_are_listed_with_their_shapes_and_what_is_none_with_its_reason(file: Path) -> None:
    arrays = asked("list", file).told["arrays"]
    assert arrays["a/features"] == {"shape": (4, 3), "dtype": "<f8"}
    assert arrays["id"] == {"shape": (4,), "dtype": "O"}
    assert "no array of numbers or strings" in arrays["odd"]["refused"]
    assert "link" in arrays["away"]["refused"]


def test_rows_are_read(file: Path) -> None:
    told, data = asked("read", file, name="a/features", start=1, stop=3)
    assert told == {"text": False}
    np.testing.assert_array_equal(np.load(io.BytesIO(data)), [[3, 4, 5], [6, 7, 8]])
    told, data = asked("read", file, name="id", start=0, stop=2)
    assert (told, json.loads(data)) == ({"text": True}, ["one", "two"])


def test_an_artifact_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "refined.h5"
    artifact.write(path, sample(Refined), provenance(schema=Refined.schema))
    told = asked("verify", path).told
    assert told == {"content_id": artifact.header(path).content_id}
    with h5py.File(path, "r+") as changed:
        changed["features"][0, 0] += 1
    assert "damaged" in asked("verify", path).told


def test_what_cannot_be_read_is_refused_for_its_reason(file: Path, tmp_path: Path) -> None:
    assert "refused" in asked("list", tmp_path / "absent.h5").told
    (tmp_path / "text.h5").write_text("no HDF5")
    assert "refused" in asked("list", tmp_path / "text.h5").told
    with h5py.File(file, "r+") as changed:
        changed["bytes"] = np.array([b"\xff\xfe"], h5py.string_dtype())
    refused = asked("read", file, name="bytes", start=0, stop=1).told["refused"]
    assert "not Unicode" in refused


def test_pages_of_a_pdf_and_previews_of_a_raw(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    pytest.importorskip("rawpy")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    assert "damaged" in asked("pages of a PDF", tmp_path / "bad.pdf").told["refused"]
    question = {"what": "page of a PDF", "path": "", "page": 0}
    assert "damaged" in answer(question, b"%PDF-1.7 nothing").told["refused"]
    refused = answer({"what": "preview of a RAW", "path": ""}, b"MM\0*" + bytes(300)).told[
        "refused"
    ]
    assert "without a preview" in refused
