"""What the README says is so: its Python runs, its tables are whole, its commands exist."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from program import paint

from clusterpipe.cache import errors
from clusterpipe.cache.schema import (
    ARTIFACTS,
    Attribute,
    Checkpoint,
    Dataset,
    Groups,
    Space,
    WordFeatures,
)

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "photos", per_kind=10)
    rng = np.random.default_rng(0)
    np.save("features.npy", np.eye(4, 32)[np.arange(200) % 4] + 0.1 * rng.normal(size=(200, 32)))
    scope: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for block in blocks:
        exec(block, scope)  # noqa: S102
    assert len(blocks) == 3
    assert scope["k"].k == 4  # type: ignore[attr-defined]


def places(record: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    for spec in fields(record):
        declared = spec.metadata["hdf5"]
        if isinstance(declared, Groups):
            yield from places(declared.of, "<space>/" if declared.of is Space else "<method>/")
        elif isinstance(declared, Attribute):
            yield f"{prefix.rstrip('/')}@{spec.name}", declared.doc
        elif isinstance(declared, Dataset):
            yield f"{prefix}{declared.path or spec.name}", declared.doc


@pytest.mark.parametrize(
    "artifact", [*ARTIFACTS, WordFeatures, Checkpoint], ids=lambda artifact: artifact.name
)
def test_every_dataset_stands_in_its_schema_tables(artifact: type) -> None:
    missing = [p for p, doc in places(artifact) if not re.search(_row(p, doc), README)]
    assert missing == []


def _row(place: str, doc: str) -> str:
    return rf"\| `{re.escape(place)}` \|.*\| {re.escape(doc)} \|"


def test_every_exit_code_is_documented() -> None:
    kinds = [kind for kind in vars(errors).values() if hasattr(kind, "exit_code")]
    assert len(kinds) == 9
    for kind in kinds:
        assert re.search(rf"^\| [\d, ]*\b{kind.exit_code}\b", README, re.MULTILINE), kind


def test_its_pictures_are_there() -> None:
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / picture).is_file()
