import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.names import safe_name
from clusterpipe.cache.sources import Manifest
from clusterpipe.cache.sources.manifest import encode_labels, strings


def manifest(n: int) -> Manifest:
    return Manifest(
        id=strings(f"image {i}" for i in range(n)),
        path=strings(f"{i}.jpg" for i in range(n)),
        size=np.arange(n) + 100,
        mtime=np.arange(n) + 200,
        label=(np.arange(n) % 2).astype(np.int32),
        class_name=strings(["cat", "dog"]),
        split=strings("train" if i < 2 else "test" for i in range(n)),
        skipped_path=strings(["gone.jpg"]),
        skipped_reason=strings(["broken link"]),
    )


def test_take_keeps_columns_together_and_what_was_skipped() -> None:
    taken = manifest(4).take(np.array([3, 0]))
    assert len(taken) == 2
    assert list(taken.id) == ["image 3", "image 0"]
    assert list(taken.path) == ["3.jpg", "0.jpg"]
    assert list(taken.size) == [103, 100]
    assert list(taken.mtime) == [203, 200]
    assert taken.label is not None
    assert list(taken.label) == [1, 0]
    assert taken.split is not None
    assert list(taken.split) == ["test", "train"]
    assert taken.class_name is not None
    assert list(taken.class_name) == ["cat", "dog"]
    assert list(taken.skipped_path) == ["gone.jpg"]


def test_take_without_labels_or_split() -> None:
    bare = Manifest(id=strings("ab"), path=strings("ab"), size=np.zeros(2), mtime=np.zeros(2))
    taken = bare.take(np.array([1]))
    assert taken.label is None
    assert taken.split is None
    assert list(taken.id) == ["b"]
    assert len(taken.skipped_path) == len(taken.skipped_reason) == 0


def test_string_labels_are_numbered_in_code_point_order() -> None:
    labels = encode_labels(strings(["dog", "", "Zebra", "dog", "ant"]), where="here")
    assert list(labels.class_name) == ["Zebra", "ant", "dog"]
    assert_array_equal(labels.label, [2, -1, 0, 2, 1])
    assert labels.label.dtype == np.int32


def test_integer_labels_are_named_by_their_values_in_numerical_order() -> None:
    labels = encode_labels(np.array([10, 2, -1, 10]), where="here")
    assert list(labels.class_name) == ["2", "10"]
    assert_array_equal(labels.label, [1, 0, -1, 1])


def test_integer_labels_with_names_are_kept() -> None:
    labels = encode_labels(np.array([2, 0, -1]), strings(["c", "b", "a"]), where="here")
    assert list(labels.class_name) == ["c", "b", "a"]
    assert_array_equal(labels.label, [2, 0, -1])


def test_string_labels_with_names_follow_the_order_of_the_names() -> None:
    labels = encode_labels(strings(["a", "", "c"]), strings(["c", "b", "a"]), where="here")
    assert_array_equal(labels.label, [2, -1, 0])


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (np.array([0, 3]), strings("abc"), "label 3 .* -1 to 2"),
        (np.array([0, -2]), strings("abc"), "label -2"),
        (np.array([0, -2]), None, "label -2"),
        (strings(["a", "d"]), strings("abc"), "'d' is not one of class_names"),
        (np.array([0, 1]), strings("aba"), "twice"),
    ],
)
def test_labels_without_a_name_are_refused(values, names, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=f"^here: .*{message}"):
        encode_labels(values, names, where="here")


@given(st.lists(st.text(max_size=3), max_size=20))
def test_string_labels_can_be_read_back(values: list[str]) -> None:
    labels = encode_labels(strings(values), where="here")
    names = [*labels.class_name, ""]
    assert [names[i] for i in labels.label] == values


@given(st.lists(st.integers(-1, 2**40), max_size=20))
def test_integer_labels_can_be_read_back(values: list[int]) -> None:
    labels = encode_labels(np.array(values, np.int64), where="here")
    names = [*labels.class_name, "-1"]
    assert [int(names[i]) for i in labels.label] == values


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photos", "photos"),
        ("my photos", "my_photos"),
        ("Ferien-2024.v2", "Ferien-2024.v2"),
        ("Überfahrt", "Überfahrt"),
        ("a/b\\c:d", "a_b_c_d"),
        ("..", "images"),
        (".hidden", "hidden"),
        ("--force", "force"),
        ("", "images"),
        ("caf\udce9", "caf"),
    ],
)
def test_names_are_safe_for_folders(name: str, safe: str) -> None:
    assert safe_name(name) == safe
