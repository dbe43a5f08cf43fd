"""Rows read for computing: which, how many, and none that are not numbers."""

import numpy as np
import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.sampling import finite, read_rows, sample_of

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
