"""What `inspect` shows of each artifact."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from faults import edited
from records import datasets, provenance, sample

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact
from clusterpipe.cache.inspection import Node, inspect
from clusterpipe.cache.schema import (
    ARTIFACTS,
    Artifact,
    Checkpoint,
    Embeddings,
    KEstimate,
    Refined,
    Shard,
    WordFeatures,
)


def nodes(path: Path) -> dict[str, Node]:
    return {node.place: node for node in inspect(path).nodes}


KINDS = (*ARTIFACTS, Shard, WordFeatures, Checkpoint)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_dataset_is_shown_with_its_meaning(kind: type[Artifact], tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    artifact.write(path, sample(kind), provenance(schema=kind.schema))
    found = inspect(path)
    assert (found.path, found.artifact) == (path, kind.name)
    assert found.provenance == artifact.header(path).attributes
    shown = nodes(path)
    with h5py.File(path) as file:
        for place, spec in datasets(kind).items():
            node = shown[place]
            assert (node.dims, node.unit, node.doc) == (spec.dims, spec.unit, spec.doc)
            assert node.shape == file[place].shape
            assert node.dtype == ("str" if spec.kind == "str" else str(file[place].dtype))


def test_previews_are_short(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    record = replace(
        sample(Embeddings, n=5, x=0, d=3),
        id=np.array(["a.jpg", "b.jpg", "ü" * 60, "d.jpg", "e.jpg"], dtype=object),
        width=np.array([1, 2, 3, 4, 5]),
    )
    artifact.write(path, record, provenance())
    shown = nodes(path)
    assert shown["/id"].preview == f"a.jpg, b.jpg, {'ü' * 37}..., d.jpg, ..."
    assert shown["/width"].preview == "1, 2, 3, 4, ..."
    assert shown["/skipped/path"].preview == "empty"
    assert shown["/clip@words"].preview == record.spaces["clip"].words
    column = [f"{value:.4g}" for value in record.spaces["clip"].features[:4, 0]]
    assert shown["/clip/features"].preview == ", ".join(column) + ", ..."


def test_scalars_and_parameters_are_shown(tmp_path: Path) -> None:
    artifact.write(
        tmp_path / "k.h5", replace(sample(KEstimate), k=37), provenance(schema=KEstimate.schema)
    )
    assert nodes(tmp_path / "k.h5")["/k"].preview == "37"
    artifact.write(tmp_path / "r.h5", sample(Refined), provenance(schema=Refined.schema))
    shown = nodes(tmp_path / "r.h5")
    assert shown["/parameters/weight"].shape == (3, 2)
    assert shown["/parameters/bias"].doc == "weights of the map"


def test_what_cannot_be_inspected_says_why(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="is missing"):
        inspect(tmp_path / "absent.h5")
    path = tmp_path / "file.h5"
    artifact.write(path, sample(KEstimate), provenance(schema=KEstimate.schema))
    with edited(path) as file:
        file.attrs["artifact"] = "horoscope"
    with pytest.raises(DamagedArtifact, match="'horoscope', which this version does not know"):
        inspect(path)
