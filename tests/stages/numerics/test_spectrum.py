"""The spectrum against scikit-learn's PCA and against closed forms."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from clusterpipe.stages.numerics.spectrum import effective_rank, variance_shares


@pytest.mark.parametrize(("n", "d"), [(200, 12), (12, 40), (20, 20)])
def test_shares_are_those_of_pca(n: int, d: int) -> None:
    rows = np.random.default_rng(0).normal(size=(n, d)) * np.arange(1, d + 1) + 5
    expected = PCA().fit(rows).explained_variance_ratio_[: min(n - 1, d)]
    np.testing.assert_allclose(variance_shares(rows), expected, atol=1e-12)
    assert variance_shares(rows).sum() == pytest.approx(1)


def test_equal_rows_have_no_variance() -> None:
    assert not variance_shares(np.ones((5, 3))).any()


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_equal_components_count_one_each(rank: int) -> None:
    shares = np.concatenate([np.full(rank, 1 / rank), np.zeros(4)])
    assert effective_rank(shares) == pytest.approx(rank)


def test_an_uneven_spectrum_counts_less_than_its_components() -> None:
    assert 1 < effective_rank(np.array([0.9, 0.1])) < 2
