"""Rows read for computing: which, how many, and none that are not numbers."""

import numpy as np
import pytest
import scipy.sparse
import torch

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import MappedRows
from clusterpipe.stages.sampling import as_column, as_rows, finite, read_rows, sample_of

ROWS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float16)


def test_small_collections_are_taken_whole() -> None:
    np.testing.assert_array_equal(sample_of(np.array([7, 3, 5]), 3, seed=1), [3, 5, 7])


def test_samples_are_distinct_ascending_and_follow_the_seed() -> None:
    first = sample_of(np.arange(100), 40, seed=1)
    assert len(set(first)) == 40
    assert list(first) == sorted(first)
    np.testing.assert_array_equal(first, sample_of(np.arange(100), 40, seed=1))
    assert list(first) != list(sample_of(np.arange(100), 40, seed=2))


def test_rows_are_read_as_float32() -> None:
    index = np.array([2, 3, 29])
    found = read_rows(ROWS, index)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, ROWS[index].astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_what_is_not_a_number(bad: float) -> None:
    rows = ROWS.copy()
    rows[4, 1] = bad
    with pytest.raises(UsageError, match="features of 1 images or more are not numbers"):
        finite(rows)[0:30]


def test_features_of_any_kind_become_rows() -> None:
    rows = np.arange(12.0).reshape(4, 3)
    kinds = {
        "list": rows.tolist(),
        "tensor": torch.tensor(rows, requires_grad=True),
        "bfloat16": torch.tensor(rows, dtype=torch.bfloat16),
        "sparse": scipy.sparse.csr_array(rows),
        "objects": rows.astype(object),
        "integers": rows.astype(int),
        "array": rows,
    }
    for kind, given in kinds.items():
        found = as_rows(given)
        np.testing.assert_array_equal(read_rows(found, np.arange(4)), rows, err_msg=kind)
    assert as_rows(rows) is rows
    lazy = MappedRows(rows, lambda block: block, 3)
    assert as_rows(lazy) is lazy


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(5), r"the features must be a matrix \(n, d\)"),
        (np.zeros((2, 2, 2)), r"not of shape \(2, 2, 2\)"),
        (np.zeros((5, 0)), "must be a matrix"),
        ([], "must be a matrix"),
        ([[1.0, 2.0], [3.0]], "no array of numbers"),
        ([["a", "b"]], "must be real numbers"),
        ([[1.0, None, "x"]], "must be real numbers, not object"),
        (np.zeros((2, 2), complex), "must be real numbers, not complex128"),
        (None, "must be a matrix"),
    ],
)
def test_what_is_no_matrix_is_refused(given: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_rows(given)


def test_columns_are_whole_numbers() -> None:
    for given in ([1, -1, 2], np.array([1.0, -1.0, 2.0]), torch.tensor([1, -1, 2])):
        found = as_column(given, "the labels")
        assert (found.tolist(), found.dtype) == ([1, -1, 2], np.int64)
    for wrong in ([0.5], ["a"], [[1]], [np.nan]):
        with pytest.raises(UsageError, match="the labels"):
            as_column(wrong, "the labels")
