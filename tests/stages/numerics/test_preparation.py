"""Preparation against NumPy's singular value decomposition and plain formulas."""

import tracemalloc

import numpy as np
import pytest
from sklearn.decomposition import PCA

from clusterpipe.cache.rows import normalise
from clusterpipe.stages.numerics.preparation import (
    center_of,
    distinct_rows,
    largest_first,
    mean_directions,
    prepare,
    principal_directions,
    principal_rows,
    rounding,
    spread,
    unit_rows,
    with_offset,
)

ROWS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32) + 2


def test_unit_rows_keep_zero_rows() -> None:
    unit = unit_rows(np.vstack([ROWS, np.zeros(6)]).astype(np.float16))
    assert unit.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(unit[:-1], axis=1), 1, rtol=1e-6)
    assert not unit[-1].any()


def test_center_is_the_mean_of_rows_or_of_directions() -> None:
    np.testing.assert_allclose(center_of(ROWS, unit=False), ROWS.mean(axis=0), rtol=1e-6)
    directions = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    np.testing.assert_allclose(center_of(ROWS, unit=True), directions.mean(axis=0), rtol=1e-6)


def test_prepared_rows_are_centred_or_unit() -> None:
    plain = prepare(ROWS, center_of(ROWS, unit=False), unit=False)
    np.testing.assert_allclose(plain.mean(axis=0), 0, atol=1e-6)
    sphere = prepare(ROWS, center_of(ROWS, unit=True), unit=True)
    np.testing.assert_allclose(np.linalg.norm(sphere, axis=1), 1, rtol=1e-6)


def test_preparation_on_the_sphere_ignores_length() -> None:
    center = center_of(ROWS, unit=True)
    scaled = ROWS * np.linspace(0.1, 9, len(ROWS), dtype=np.float32)[:, None]
    np.testing.assert_allclose(
        prepare(scaled, center, unit=True), prepare(ROWS, center, unit=True), atol=1e-6
    )


@pytest.mark.parametrize(("n", "d"), [(40, 6), (9, 30)])
def test_principal_rows_are_those_of_the_singular_value_decomposition(n: int, d: int) -> None:
    rows = np.random.default_rng(1).normal(size=(n, d))
    z = prepare(rows, center_of(rows, unit=True), unit=True)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    expected = u[:, :4] * s[:4]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = principal_rows(rows, 4)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)


def test_principal_rows_are_at_most_as_many_as_there_are() -> None:
    assert principal_rows(ROWS, 99).shape == (40, 6)


def test_equal_rows_are_equal_up_to_rounding() -> None:
    same = np.tile(ROWS[:1], (5, 1))
    for rows in (same, (same * 3).astype(np.float16), ROWS[:1]):
        assert spread(rows) < rounding(rows)
    assert spread(ROWS[:2]) > rounding(ROWS[:2])


def test_what_counts_as_rounding_is_told_by_how_finely_features_are_kept() -> None:
    near = np.float32([[1, 0], [1, 1e-4]])
    assert spread(near) > rounding(near)
    assert spread(near.astype(np.float16)) < rounding(near.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("scale", [1e-38, 1e-25, 1e-12, 1.0, 1e15, 1e20, 1e37])
def test_unit_rows_do_not_depend_on_the_scale(scale: float) -> None:
    scaled = (ROWS * scale).astype(np.float32)
    np.testing.assert_allclose(unit_rows(scaled), unit_rows(ROWS), rtol=2e-2, atol=1e-3)
    np.testing.assert_allclose(normalise(scaled), unit_rows(ROWS), rtol=2e-2, atol=1e-3)
    assert not unit_rows(np.zeros((2, 3))).any()


def test_a_row_of_another_scale_keeps_its_direction_and_leaves_the_others_as_they_are() -> None:
    rows = ROWS.astype(np.float32)
    odd = rows.copy()
    odd[3] *= np.float32(1e25)
    odd[4] *= np.float32(1e-25)
    np.testing.assert_allclose(unit_rows(odd)[3:5], unit_rows(rows)[3:5], rtol=1e-6)
    others = [0, 1, 2, *range(5, len(rows))]
    np.testing.assert_array_equal(unit_rows(odd)[others], unit_rows(rows)[others])


def test_few_wide_rows_have_as_many_directions_and_no_wide_matrix() -> None:
    rows = np.random.default_rng(5).normal(size=(7, 30_000)).astype(np.float32)
    tracemalloc.start()
    found = principal_directions(rows, 99)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (30_000, 7)
    assert most < 100e6  # a (d, d) matrix takes 3.6e9 bytes
    np.testing.assert_allclose(found.T @ found, np.eye(7), atol=1e-4)
    expected = np.linalg.svd(rows, full_matrices=False)[2].T
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=0)), 1, atol=1e-3)


def test_distinct_rows_keep_the_first_of_each() -> None:
    np.testing.assert_array_equal(distinct_rows(ROWS[[3, 1, 3, 0, 1]]), ROWS[[3, 1, 0]])


def test_an_offset_parts_opposite_rows() -> None:
    z = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    np.testing.assert_allclose(with_offset(z, 0) @ with_offset(z, 0).T, z @ z.T, atol=1e-6)
    cosine = with_offset(z, 0.25) @ with_offset(z, 0.25).T
    np.testing.assert_allclose(cosine, (z @ z.T + 0.25) / 1.25, rtol=1e-6)


def test_prepared_rows_have_unit_length_around_the_mean_direction() -> None:
    features = np.random.default_rng(0).normal(3, 1, (50, 6)).astype(np.float16)
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    center = center_of(features, unit=True)
    np.testing.assert_allclose(center, (features / lengths).mean(axis=0), atol=1e-6)
    prepared = prepare(features, center, unit=True)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(prepared, axis=1), 1, atol=1e-6)
    expected = features / lengths - center
    cosines = (prepared * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_mean_directions_are_unit_means_and_zero_where_there_is_no_row() -> None:
    rows = unit_rows(np.random.default_rng(3).normal(size=(30, 6)))
    label = np.arange(30) % 3 * 2
    found = mean_directions(rows, label, 6)
    for cluster in (0, 2, 4):
        mean = rows[label == cluster].mean(axis=0)
        np.testing.assert_allclose(found[cluster], mean / np.linalg.norm(mean), atol=1e-6)
    assert not found[[1, 3, 5]].any()


def test_principal_directions_are_the_leading_singular_vectors() -> None:
    rows = np.random.default_rng(4).normal(size=(50, 8)) * np.arange(8, 0, -1)
    found = principal_directions(rows.astype(np.float32), 3)
    expected = np.linalg.svd(rows, full_matrices=False)[2][:3].T
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=0)), 1, atol=1e-4)
    assert principal_directions(rows.astype(np.float32), 99).shape == (8, 8)


def test_principal_directions_equal_scikit_learns() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    rows = rows * np.arange(1, 7, dtype=np.float32)
    rows -= rows.mean(axis=0)
    ours, theirs = principal_directions(rows, 3), PCA(3).fit(rows).components_
    np.testing.assert_allclose(np.abs((ours * theirs.T).sum(axis=0)), 1, atol=1e-4)


def test_principal_directions_stop_at_the_rank() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(200, 3)) @ rng.normal(size=(3, 10))).astype(np.float32)
    assert principal_directions(rows, 8).shape == (10, 3)
    assert principal_directions(np.ones((3, 20_000), np.float32), 5).shape == (20_000, 1)


@pytest.mark.parametrize("rows", [2, 5])
def test_rows_that_are_zero_have_one_direction(rows: int) -> None:
    assert principal_directions(np.zeros((rows, 3), np.float32), 2).shape == (3, 1)


def test_largest_first_is_stable_and_its_inverse_renumbers() -> None:
    label = np.array([3, 1, 1, 0, 0, 3, 3])
    order = largest_first(label, 5)
    assert order.tolist() == [3, 0, 1, 2, 4]
    assert order.argsort()[label].tolist() == [0, 2, 2, 1, 1, 0, 0]
