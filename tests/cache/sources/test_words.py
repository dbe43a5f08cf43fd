"""Text features of every container, and what is refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources.words import holds_word_features, names_file, open_words

ROWS = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
WORDS = ["ant", "sea lion", "éclair"]


def write(folder: Path, suffix: str, *, names: bool = True) -> Path:
    path = folder / f"words{suffix}"
    if suffix == ".npz":
        np.savez(path, features=ROWS, **({"names": WORDS} if names else {}))
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["features"] = ROWS
            if names:
                file["names"] = WORDS
    elif suffix == ".npy":
        np.save(path, ROWS)
    else:
        save_file({"features": ROWS}, path)
    if names and suffix in (".npy", ".safetensors"):
        path.with_suffix(".txt").write_text("\n".join(WORDS), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".npy", ".safetensors"])
def test_words_come_with_their_features(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix)
    found = open_words(path)
    assert holds_word_features(path)
    assert found.word.tolist() == WORDS
    np.testing.assert_array_equal(found.features[0:3], ROWS)
    assert (names_file(path) is None) == (suffix in (".npz", ".h5"))


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".npy", ".safetensors"])
def test_features_without_names_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match="name"):
        open_words(write(tmp_path, suffix, names=False))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"names": WORDS}, "an array features"),
        ({"features": ROWS[:0], "names": np.array([], "U1")}, "no words"),
        ({"features": ROWS, "names": WORDS[:2]}, "3 rows of features, but 2 names"),
        ({"features": ROWS, "names": ["a", "b", "a"]}, "'a' stands in rows 0 and 2"),
        ({"features": ROWS, "names": ["a", " ", "c"]}, "row 1 is empty"),
        ({"features": ROWS[0], "names": WORDS}, "expected"),
        ({"features": ROWS.astype(int), "names": WORDS}, "floats"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(UsageError, match=reason):
        open_words(tmp_path / "w.npz")


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        open_words(tmp_path / "w.npz")
    (tmp_path / "w.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UsageError, match="cannot be read"):
        open_words(tmp_path / "w.npz")
    np.save(tmp_path / "w.npy", ROWS)
    (tmp_path / "w.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        open_words(tmp_path / "w.npy")


def test_numbers_that_are_none_are_noticed_when_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", features=np.full((1, 2), np.nan), names=["a"])
    with pytest.raises(UsageError, match="NaN"):
        open_words(tmp_path / "w.npz").features[0:1]
