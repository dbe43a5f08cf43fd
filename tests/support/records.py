"""Any artifact filled with arbitrary data, built from its schema, and compared value by value."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from clusterpipe.cache.artifact import StoredRows
from clusterpipe.cache.provenance import Identity, Provenance
from clusterpipe.cache.schema import Artifact, Attribute, Dataset, Groups, Members

LETTERS = [*"abcdefghij", " ", "/", "é", "鱼", "🐟"]
GROUPS = ("clip", "dino")


def provenance(*, seconds: float = 1.0, **identity: Any) -> Provenance:
    """What a stage would be stamped with."""
    known = {"stage": "embed", "stage_version": 1, "schema": 1, "seed": 7}
    what = {**known, "config": {"dtype": "float16"}, "inputs": {"source": "ab"}, **identity}
    return Provenance(identity=Identity(**what), how={"workers": 2}, seconds=seconds, device="cpu")


def sample(record: type[Any], *, seed: int = 0, optional: bool = True, **sizes: int) -> Any:
    """A record of that schema with random values; `sizes` gives dimensions by their symbols."""
    rng = np.random.default_rng(seed)
    length: dict[str, int] = defaultdict(lambda: int(rng.integers(1, 5)), sizes)
    return _record(record, rng, length, optional)


def _record(record: type[Any], rng: Any, sizes: dict[str, int], optional: bool) -> Any:
    filled = {}
    for field in fields(record):
        spec = field.metadata["hdf5"]
        if isinstance(spec, Groups):
            filled[field.name] = {name: _record(spec.of, rng, sizes, optional) for name in GROUPS}
        elif isinstance(spec, Members):
            filled[field.name] = {
                "weight": rng.standard_normal((3, 2)).astype(np.float32),
                "bias": rng.standard_normal(2),
            }
        elif isinstance(spec, Attribute):
            filled[field.name] = _scalar(field.type, rng)
        elif optional or not spec.optional:
            filled[field.name] = _values(spec, rng, sizes)
    return record(**filled)


def _scalar(kind: Any, rng: Any) -> Any:
    if kind is str:
        return _text(rng)
    return {bool: bool, float: float, int: int}[kind](rng.integers(2, 100))


def _values(spec: Dataset, rng: Any, sizes: dict[str, int]) -> Any:
    shape = tuple(int(s) if s.isdigit() else sizes[s] for s in spec.dims.split())
    if spec.kind == "str":
        texts = np.array([_text(rng) for _ in range(int(np.prod(shape)))], dtype=object)
        return texts.reshape(shape) if shape else _text(rng)
    if spec.kind == "int":
        values = rng.integers(-(2**40), 2**40, shape)
        return values if shape else int(values)
    values = rng.standard_normal(shape)
    return values.astype(rng.choice(["f2", "f4", "f8"])) if shape else float(values)


def _text(rng: Any) -> str:
    return "".join(rng.choice(LETTERS, int(rng.integers(0, 12))))


def in_memory(record: Any) -> Any:
    """A record, or any value of one, with what lies on disk read in."""
    if isinstance(record, StoredRows):
        return record[0 : record.shape[0]]
    if isinstance(record, Mapping):
        return {name: in_memory(value) for name, value in record.items()}
    if is_dataclass(record) and not isinstance(record, type):
        return replace(
            record, **{f.name: in_memory(getattr(record, f.name)) for f in fields(record)}
        )
    return record


def assert_same(found: Any, expected: Any, place: str = "") -> None:
    """Fails unless two records are alike in every value, type, shape and dtype."""
    assert type(found) is type(expected), place
    if isinstance(expected, Mapping):
        assert set(found) == set(expected), place
        for name in expected:
            assert_same(found[name], expected[name], f"{place}/{name}")
    elif is_dataclass(expected):
        for field in fields(expected):
            values = (getattr(r, field.name) for r in (found, expected))
            assert_same(*values, f"{place}/{field.name}")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), place
        np.testing.assert_array_equal(found, expected, err_msg=place)
    else:
        assert found == expected, place


def datasets(kind: type[Artifact]) -> dict[str, Dataset]:
    """Every dataset of an artifact by its place, with the names of `sample` for groups."""
    return dict(_datasets(kind, ""))


def _datasets(record: type[Any], group: str) -> Any:
    for field in fields(record):
        spec = field.metadata["hdf5"]
        if isinstance(spec, Groups):
            for name in GROUPS:
                yield from _datasets(spec.of, f"{group}/{name}")
        elif isinstance(spec, Dataset):
            yield f"{group}/{spec.path or field.name}", spec
