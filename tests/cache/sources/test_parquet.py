"""Parquet and data sets on disk: images, features, both; damaged ones and what is not there."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from clusterpipe.cache.errors import UnreadableImage, UsageError
from clusterpipe.cache.limits import Limits
from clusterpipe.cache.sources import FeatureSource, ImageSource, SourceConfig, open_source
from clusterpipe.cache.sources.parquet import open_parquet
from clusterpipe.cache.sources.pictured import PicturedFeatures

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

MATRIX = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 3), shade).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [png(shade) for shade in range(10)]
OBJECTS = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(PICTURES)]
CLASSES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}


def parquet(file: Path, /, *, size: int = 1_000, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), file, row_group_size=size)
    return file


def dataset(folder: Path, table: Any, *, batch: int = 4) -> Path:
    """As `save_to_disk` of `datasets` writes it."""
    folder.mkdir(parents=True)
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def images(source: object) -> list[bytes]:
    assert isinstance(source, ImageSource)
    return [source.read(row) for row in range(len(source.manifest))]


@pytest.mark.parametrize("size", [3, 1_000])
def test_bytes_in_any_order_and_from_threads(tmp_path: Path, size: int) -> None:
    source = open_parquet(parquet(tmp_path / "x.parquet", size=size, image=PICTURES))
    assert source.manifest.id.tolist() == [str(row) for row in range(10)]
    assert images(source) == PICTURES
    assert isinstance(source, ImageSource)
    rows = np.random.default_rng(0).permutation(np.arange(10).repeat(9)).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.read, rows)) == [PICTURES[row] for row in rows]


def test_more_rows_than_are_kept(tmp_path: Path) -> None:
    many = [b"%d" % row for row in range(2_000)]
    source = open_parquet(parquet(tmp_path / "x.parquet", size=300, png=many))
    assert isinstance(source, ImageSource)
    for row in (0, 1_999, 700, 701, 5, 900):
        assert source.read(row) == many[row]


def test_objects_of_datasets_with_names_of_classes(tmp_path: Path) -> None:
    table = pa.table({"image": OBJECTS, "label": [0, 1] * 5})
    table = table.replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    pq.write_table(table, tmp_path / "x.parquet")
    manifest = open_parquet(tmp_path / "x.parquet").manifest
    assert manifest.id.tolist() == [f"{row}.png" for row in range(10)]
    assert manifest.class_name is not None
    assert manifest.class_name.tolist() == ["cat", "dog"]
    assert images(open_parquet(tmp_path / "x.parquet")) == PICTURES


def test_objects_that_name_files(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(PICTURES[0])
    named = [{"bytes": None, "path": "0.png"}, {"bytes": None, "path": None}]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path = parquet(tmp_path / "x.parquet", image=pa.array(named, kind))
    source = open_parquet(path)
    assert isinstance(source, ImageSource)
    assert source.read(0) == PICTURES[0]
    with pytest.raises(UnreadableImage, match="no image in the row"):
        source.read(1)


def test_our_own_export_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURES[0])
    path = parquet(
        tmp_path / "clusters.parquet",
        id=["one", "two"],
        path=[str(tmp_path / "a.png"), ""],
        cluster=[0, 1],
        probability=[0.5, 0.25],
        label=["cat", None],
        split=pa.array([None, None], pa.string()),
    )
    source = open_source(SourceConfig(path=str(path)))
    assert source.manifest.id.tolist() == ["one"]
    assert images(source) == [PICTURES[0]]


def test_an_image_is_held_to_its_limits(tmp_path: Path) -> None:
    source = open_parquet(
        parquet(tmp_path / "x.parquet", image=[bytes(9_000)]), limits=Limits(pixels=1_000)
    )
    assert isinstance(source, ImageSource)
    with pytest.raises(UnreadableImage, match="too large"):
        source.read(0)


@pytest.mark.parametrize("fixed", [True, False])
def test_features(tmp_path: Path, fixed: bool) -> None:
    kind = pa.list_(pa.float32(), 4) if fixed else pa.list_(pa.float32())
    lists = pa.array(MATRIX.tolist(), kind)
    path = parquet(tmp_path / "x.parquet", size=3, embedding=lists, label=["a", "b"] * 5)
    source = open_source(SourceConfig(path=str(path)))
    assert isinstance(source, FeatureSource)
    assert not isinstance(source, ImageSource)
    assert_array_equal(source.spaces["features"][0:10], MATRIX)
    assert_array_equal(source.spaces["features"][4:8:2], MATRIX[4:8:2])
    assert source.spaces["features"][10:].shape == (0, 4)
    assert source.manifest.class_name is not None


def test_several_spaces_beside_their_pictures(tmp_path: Path) -> None:
    lists = pa.array(MATRIX.tolist())
    path = parquet(tmp_path / "x.parquet", features_clip=lists, features_dino=lists, image=PICTURES)
    source = open_parquet(path)
    assert isinstance(source, PicturedFeatures)
    assert isinstance(source, FeatureSource)
    assert list(source.spaces) == ["clip", "dino"]
    assert images(source) == PICTURES
    assert source.decode(source.read(3)).size == (4, 3)
    limited = open_source(SourceConfig(path=str(path), limit=5))
    assert images(limited) == PICTURES[::2]
    assert isinstance(limited, FeatureSource)
    assert_array_equal(limited.spaces["clip"][0:5], MATRIX[::2].astype(np.float64))


def test_features_with_the_paths_of_their_pictures(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(PICTURES[0])
    path = parquet(tmp_path / "x.parquet", vector=pa.array(MATRIX[:1].tolist()), path=["0.png"])
    source = open_parquet(path)
    assert images(source) == [PICTURES[0]]
    assert source.manifest.path.tolist() == ["0.png"]


@pytest.mark.parametrize(
    "lists", [[[1.0, 2.0], [1.0]], [[1.0, 2.0], None], [[1.0, 2.0], [1, None]]]
)
def test_rows_of_other_lengths_name_the_row(tmp_path: Path, lists: list[Any]) -> None:
    path = parquet(tmp_path / "x.parquet", features=pa.array(lists, pa.list_(pa.float32())))
    source = open_parquet(path)
    assert isinstance(source, FeatureSource)
    with pytest.raises(UsageError, match=r"features holds no 2 numbers in row 1"):
        source.spaces["features"][0:2]


def test_other_columns_are_told(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", a=[1.0, 2.0], b=["x", "y"])
    with pytest.raises(UsageError, match=r"holds a, b. Expected a column `image`"):
        open_parquet(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", image=[png(9) * 300] * 20)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"x\.parquet cannot be read"):
        open_parquet(path)
    path.write_bytes(whole[:20] + bytes(60) + whole[80:])
    source = open_parquet(path)
    assert isinstance(source, ImageSource)
    for _ in range(2):
        with pytest.raises(UnreadableImage, match="cannot be read"):
            source.read(3)


def test_data_sets_on_disk(tmp_path: Path) -> None:
    table = pa.table({"image": OBJECTS, "label": [0, 1] * 5})
    table = table.replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    source = open_source(SourceConfig(path=str(dataset(tmp_path / "pets", table))))
    assert images(source) == PICTURES
    assert source.name == "pets"
    assert source.manifest.class_name is not None


def test_splits_of_a_data_set(tmp_path: Path) -> None:
    table = pa.table({"image": OBJECTS})
    for split in ("train", "test"):
        dataset(tmp_path / "pets" / split, table)
    (tmp_path / "pets/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source = open_source(SourceConfig(path=str(tmp_path / "pets")))
    assert images(source) == PICTURES * 2
    assert source.manifest.id[13] == "test/3.png"
    assert source.manifest.split is not None
    assert source.manifest.split.tolist() == ["train"] * 10 + ["test"] * 10


def test_hostile_data_sets(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "x", pa.table({"image": PICTURES}))
    data = folder / "data-00000-of-00001.arrow"
    data.write_bytes(data.read_bytes()[:400])
    with pytest.raises(UsageError, match="cannot be read"):
        open_source(SourceConfig(path=str(folder)))
    (folder / "state.json").write_text('{"_data_files": [{"filename": "../../secret"}]}')
    with pytest.raises(UsageError, match="outside of the folder"):
        open_source(SourceConfig(path=str(folder)))
    (folder / "state.json").write_text("[]")
    with pytest.raises(UsageError, match="holds no object"):
        open_source(SourceConfig(path=str(folder)))
