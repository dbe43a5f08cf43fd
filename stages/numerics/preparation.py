"""Preparation of features before they are clustered: unit length, centring, fewer dimensions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array

BLOCK = 16_384
SAME = 1e-3  # rows that differ by less, at unit length, are taken as equal (float16 rounding)
SAME_FLOAT32 = 1e-6  # the same of features that float16 does not hold
RANK_TOLERANCE = 1e-6  # of the largest variance: what float32 input can still tell from zero
SHORT, LONG = 1e-12, 1e15  # lengths whose squares, and those of small parts, float32 holds


def unit_rows(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows (n, d) at unit length, whatever their length is; a zero row stays zero.

    Rows beyond the range where float32 holds squares are scaled by a power of two first.
    """
    rows = rows.astype(np.float32, copy=False)
    with np.errstate(over="ignore", under="ignore"):
        length = np.linalg.norm(rows, axis=1, keepdims=True)
    odd = np.flatnonzero(~((length > SHORT) & (length < LONG)))
    if len(odd):
        rows, length = rows.copy(), length.copy()
        peak = np.abs(rows[odd]).max(axis=1, keepdims=True, initial=0)
        rows[odd] = np.ldexp(rows[odd], -np.frexp(peak)[1])
        length[odd] = np.linalg.norm(rows[odd], axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), np.float32)


def unit_spaces(rows: NDArray[Any], widths: Sequence[int]) -> NDArray[np.float32]:
    """Rows (n, d) of several spaces side by side, each at the same length, together at unit length.

    widths: of the spaces, they sum to d; none means one space. What is zero in a space stays zero.
    """
    if len(widths) <= 1:
        return unit_rows(rows)
    parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    return np.hstack([unit_rows(part) for part in parts]) / np.float32(np.sqrt(len(parts)))


def center_of(rows: NDArray[Any], *, unit: bool, widths: Sequence[int] = ()) -> NDArray[np.float32]:
    """The mean (d,) of rows (n, d), each scaled by `unit_spaces` first if `unit`."""
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        total += (unit_spaces(block, widths) if unit else block).sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(rows), np.float32)


def prepare(
    rows: NDArray[Any], center: NDArray[np.float32], *, unit: bool, widths: Sequence[int] = ()
) -> NDArray[np.float32]:
    """Rows (n, d) less `center`; if `unit`, scaled by `unit_spaces` before and after.

    A row that equals `center` becomes zero. Rows are treated independently.
    """
    if not unit:
        return np.asarray(rows.astype(np.float32, copy=False) - center, np.float32)
    return unit_spaces(unit_spaces(rows, widths) - center, widths)


def mean_directions(
    rows: NDArray[np.float32], label: NDArray[np.integer[Any]], k: int
) -> NDArray[np.float32]:
    """The mean of the rows (n, d) of each of k labels (n,), at unit length; (k, d).

    Zero for a label that no row has.
    """
    return unit_rows(means(rows, label, k))


def means(
    rows: NDArray[np.float32], label: NDArray[np.integer[Any]], k: int
) -> NDArray[np.float32]:
    """The mean of the rows (n, d) of each of k labels (n,), (k, d); zero where there are none."""
    start = np.arange(len(label) + 1)
    member = csr_array((np.ones(len(label), np.float32), label, start), (len(label), k))
    size = np.maximum(np.bincount(label, minlength=k), 1)
    return np.asarray(member.T @ rows / size[:, None], np.float32)


def largest_first(label: NDArray[np.integer[Any]], k: int) -> NDArray[np.int64]:
    """The k clusters of labels (n,) from the largest down, (k,); of equal ones the first first.

    `argsort` of it gives the new number of each.
    """
    return np.argsort(-np.bincount(label, minlength=k), kind="stable")


def spread(rows: NDArray[Any]) -> float:
    """The largest difference of a coordinate of the directions (n, d) from the first one."""
    rows = unit_rows(rows)
    return float(np.abs(rows - rows[:1]).max(initial=0))


def rounding(rows: NDArray[Any]) -> float:
    """Up to which difference directions count as equal: by how finely the rows (n, d) are kept."""
    with np.errstate(over="ignore"):
        coarse = np.array_equal(rows.astype(np.float16).astype(rows.dtype), rows)
    return SAME if coarse else SAME_FLOAT32


def distinct_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows (n, d) without the repeats of earlier rows, in their order."""
    return rows[first_of_equal(rows)]


def first_of_equal(rows: NDArray[Any]) -> NDArray[np.int64]:
    """The numbers, ascending, of the rows (n, d) that are not, byte by byte, an earlier one."""
    rows = np.ascontiguousarray(rows)
    whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    return np.sort(np.unique(whole, return_index=True)[1])


def principal_rows(rows: NDArray[Any], width: int) -> NDArray[np.float32]:
    """Unit rows (n, e) in the `width` leading principal components of the centred directions.

    e = min(width, n, d). Rows are scaled to unit length, centred, scaled, projected and scaled.
    """
    z = prepare(rows, center_of(rows, unit=True), unit=True)
    n, d = z.shape
    side = z.T @ z if d <= n else z @ z.T
    first = max(len(side) - width, 0)
    values, vectors = eigh(side, subset_by_index=[first, len(side) - 1])
    if d <= n:
        return unit_rows(z @ vectors[:, ::-1])
    return unit_rows((vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1])


def principal_directions(rows: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The leading eigenvectors of the second moments of rows (n, d); (d, e), e = min(width, rank).

    Of fewer than d rows no (d, d) matrix is formed. Rows that are all zero have one, any direction.
    """
    n, d = rows.shape
    if n < d:
        _, lengths, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
        values, vectors = lengths**2, right.T
    else:
        values, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
        values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > RANK_TOLERANCE * values[0]).sum())
    return np.ascontiguousarray(vectors[:, : min(width, max(rank, 1))], np.float32)


def with_offset(rows: NDArray[np.float32], offset: float) -> NDArray[np.float32]:
    """Unit rows (n, e + 1): one more coordinate, the same for all, of squared size `offset`.

    Centred clusters that lie opposite each other (any two of equal size do) are one line through
    the origin, and three are one plane; seen from an offset they come apart. Ours.
    """
    constant = np.full((len(rows), 1), np.sqrt(offset), np.float32)
    return unit_rows(np.hstack([rows, constant]))
