"""Row selection (a split, a random sample), and arrays of any kind as numbers to compute with."""

from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import MappedRows, Rows, take
from clusterpipe.cache.schema import StringArray


def as_rows(features: Any, what: str = "the features") -> Rows:
    """Return features as a matrix (n, d) whose rows can be sliced.

    Numpy arrays, HDF5 datasets and other `Rows` are taken as they are; lists, tensors and data
    frames become arrays. Raises UsageError, naming `what`, for anything that is no matrix of real
    numbers.
    """
    if not isinstance(getattr(features, "dtype", None), np.dtype) or hasattr(features, "toarray"):
        features = _array(features, what)
    if len(features.shape) != 2 or not features.shape[1]:
        raise UsageError(
            f"{what} must be a matrix (n, d), one row per image, not of shape {features.shape}"
        )
    if features.dtype.kind in "biuf":
        return features  # type: ignore[no-any-return]
    return _numbers(features[:], what)


def as_column(values: Any, what: str) -> NDArray[np.int64]:
    """Return whole numbers, one per image, as an array (n,). Raises UsageError otherwise."""
    column = _array(values, what)
    if column.ndim != 1:
        raise UsageError(f"{what} must be one number per image, not of shape {column.shape}")
    numbers = column if column.dtype.kind in "biuf" else _numbers(column, what)
    whole = numbers.astype(np.int64) if np.isfinite(numbers).all() else None
    if whole is None or (whole != numbers).any():
        raise UsageError(f"{what} must be whole numbers, -1 where unknown")
    return np.asarray(whole)


def _array(values: Any, what: str) -> NDArray[Any]:
    """A tensor, sparse matrix, data frame or (nested) list as an array."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        values = tensor.float() if tensor.is_floating_point() else tensor
    if hasattr(values, "toarray"):
        values = values.toarray()
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{what} are no array of numbers: {error}") from error


def _numbers(array: NDArray[Any], what: str) -> NDArray[np.float32]:
    """An array of objects, such as a data frame has with columns of several types, as numbers."""
    if array.dtype.kind == "O":
        with suppress(ValueError, TypeError):
            return array.astype(np.float32)
    raise UsageError(f"{what} must be real numbers, not {array.dtype}")


def rows_of_split(
    n: int, split: StringArray | None, wanted: str, *, setting: str
) -> NDArray[np.int64]:
    """The row numbers of the split called `wanted`, or all of n if it is empty.

    Raises UsageError, naming the `setting`, for a split that does not exist.
    """
    if not wanted:
        return np.arange(n)
    names = sorted({str(name) for name in split if name}) if split is not None else []
    if wanted not in names:
        near = get_close_matches(wanted, names, n=1, cutoff=0.0)
        there = (
            f"did you mean {near[0]!r}? There are: {', '.join(names)}"
            if names
            else "the source has no splits"
        )
        raise UsageError(f"{setting}: there is no split {wanted!r}; {there}")
    return np.flatnonzero(np.asarray(split) == wanted)


def described_rows(taken: int, candidates: int, split: str) -> str:
    """The rows something was fitted on, in words: `taken` of the `candidates` of a split."""
    whole = f"the {candidates:,} images" + (f" of split {split!r}" if split else "")
    return whole if taken == candidates else f"{taken:,} of {whole}, drawn at random"


def sample_of(rows: NDArray[np.integer[Any]], size: int, seed: int) -> NDArray[np.int64]:
    """At most `size` of the row numbers `rows` (m,), drawn at random, ascending."""
    chosen = np.asarray(rows, np.int64)
    if len(chosen) > size:
        chosen = np.random.default_rng(seed).choice(chosen, size, replace=False)
    return np.sort(chosen)


def different(
    rows: NDArray[np.float32], *, at_least: int = 2, seed: int = 0
) -> NDArray[np.integer[Any]]:
    """The places, ascending, of rows (n, d) to fit on: of copies and near-copies the first.

    So what is there many times counts once. All places if fewer than `at_least` would be left.
    """
    from clusterpipe.stages.numerics.near_copies import firsts
    from clusterpipe.stages.numerics.preparation import first_of_equal

    once = first_of_equal(rows)
    once = once[firsts(rows[once] if len(once) < len(rows) else rows, seed=seed)]
    return once if len(once) >= at_least else np.arange(len(rows))


def read_rows(features: Rows, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The rows named by `index`, ascending, as float32. Raises UsageError for NaN or infinity."""
    return take(finite(features), index)


def read_views(views: Rows, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The same of views (n, v, d)."""
    return _finite(take(views, index))


def finite(features: Rows) -> MappedRows:
    """The same features as float32, refusing NaN and infinity as they are read."""
    return MappedRows(features, _finite, features.shape[1])


def _finite(block: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = block.astype(np.float32, copy=False)
    bad = ~np.isfinite(single).all(axis=tuple(range(1, single.ndim)))
    if not bad.any():
        return single
    held = block[bad]
    if np.isfinite(held).all():
        raise UsageError(
            f"features reach {np.abs(held).max():.3g}, beyond the {np.finfo(np.float32).max:.2g} "
            "of float32: divide all of them by a common factor"
        )
    raise UsageError(
        f"the features of {int(bad.sum())} images or more are not numbers (NaN or infinite): "
        "leave those images out, or embed them again"
    )


def sameness(rows: NDArray[np.float32]) -> str:
    """Reason that rows (n, d) cannot be told apart, as measured; empty where they can."""
    from clusterpipe.stages.numerics.preparation import rounding, spread

    most, least = spread(rows), rounding(rows)
    if most >= least:
        return ""
    if not most:
        return "all images have the same features"
    return (
        f"no coordinate of the features, at unit length, differs by more than {most:.1g} between "
        f"images; what is below {least:g} may be rounding"
    )
