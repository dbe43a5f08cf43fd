"""The feature cache: what shards know, and virtual rows over them that never read as nothing."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
from faults import edited, unsealed
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from records import provenance, sample

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact
from clusterpipe.cache.inspection import inspect
from clusterpipe.cache.rows import blocks
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Embeddings, Shard, Space
from clusterpipe.cache.shards import Ledger, Seen, ShardStore, row_digests, rows_digest

D = 5


def text(values: Sequence[str]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)


def make_shard(images: Sequence[str], *, seed: int = 0, weights: str = "w", **known: Any) -> Shard:
    """A shard with random features of those images, all looked at and none bad."""
    m = len(images)
    features = np.random.default_rng(seed).standard_normal((m, D)).astype(np.float16)
    filled = {
        "features": features,
        "image": text(images),
        "row": row_digests(features),
        "seen_id": text([f"{image}.jpg" for image in images]),
        "seen_digest": text(images),
        "weights": weights,
    }
    record: Shard = sample(Shard, seed=seed, m=m, r=m, y=0)
    return replace(record, **(filled | known))


def store_of(folder: Path, *shards: Shard) -> ShardStore:
    store = ShardStore(RunDirectory(folder).shards("clip-0123"))
    for shard in shards:
        store.append(shard, provenance())
    return store


def write_index(folder: Path, store: ShardStore, images: Sequence[str]) -> Path:
    """`embeddings.h5` in `folder` over the rows of `images`."""
    rows = store.rows(images, store.ledger())
    ids = store.content_ids(rows)
    space = Space(
        features=rows,
        shard=text([path.relative_to(folder).as_posix() for path in ids]),
        shard_id=text(list(ids.values())),
    )
    path = RunDirectory(folder).artifact(Embeddings)
    record = replace(sample(Embeddings, n=len(images)), spaces={"clip": space})
    artifact.write(path, record, provenance())
    return path


def read_features(path: Path) -> NDArray[Any]:
    rows = artifact.read(path, Embeddings).spaces["clip"].features
    return rows[0 : rows.shape[0]]


# ---------------------------------------------------------------- what shards know


def test_a_ledger_knows_what_its_shards_hold() -> None:
    ledger = Ledger()
    sizes = {"width": np.array([30, 40]), "height": np.array([50, 60])}
    ledger.add(0, make_shard(["a", "b"], **sizes))
    shard = make_shard(["c"], bad=text(["x"]), bad_reason=text(["truncated"]))
    ledger.add(7, shard)
    assert [ledger.knows(image) for image in ("a", "c", "x", "y", "", None)] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert ledger.place["b"] == (0, 1, 40, 60)
    assert ledger.place["c"][:2] == (7, 0)
    assert ledger.bad == {"x": "truncated"}
    assert shard.seen_stamp is not None
    stat = (shard.seen_size[0], shard.seen_mtime[0], shard.seen_stamp[0])
    seen = Seen("c.jpg", *map(int, stat))
    assert ledger.digest_of[seen] == "c"


def test_an_image_stored_twice_keeps_its_first_place() -> None:
    """The place decides the order of rows, which must not depend on where a run was resumed."""
    first, second = make_shard(["a", "b", "a"], seed=1), make_shard(["b"], seed=2)
    ledger = Ledger()
    ledger.add(0, first)
    ledger.add(1, second)
    assert [ledger.place[image][:2] for image in "ab"] == [(0, 0), (0, 1)]
    assert [ledger.row_digest[image] for image in "ab"] == first.row[:2].tolist()


def test_an_empty_store_knows_nothing(tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "absent")
    assert store.numbers() == []
    assert store.ledger() == Ledger()


def test_shards_are_numbered_one_after_the_other(tmp_path: Path) -> None:
    store = store_of(tmp_path, make_shard(["a"]), make_shard(["b"]))
    store.path(0).rename(store.path(41))
    assert store.append(make_shard(["c"]), provenance()) == 42
    assert store.numbers() == [1, 41, 42]
    assert store.path(42).name == "000042.h5"


def test_other_files_in_the_folder_are_no_shards(tmp_path: Path) -> None:
    store = store_of(tmp_path, make_shard(["a"]))
    for name in (".000003.h5.0123.clusterpipe.tmp", "notes.h5", "000004.txt", ".000005.h5"):
        (store.folder / name).touch()
    assert store.numbers() == [0]


@pytest.mark.parametrize("content", [b"", b"nothing that is HDF5", None])
def test_a_damaged_shard_counts_as_lost_and_is_not_overwritten(
    tmp_path: Path, content: bytes | None
) -> None:
    store = store_of(tmp_path, *(make_shard([image]) for image in "abc"))
    whole = store.path(1).read_bytes()
    store.path(1).write_bytes(whole[:-100] if content is None else content)
    assert set(store.ledger().place) == {"a", "c"}
    assert store.append(make_shard(["b"]), provenance()) == 3
    assert store.ledger().place["b"][:2] == (3, 0)


def test_features_of_other_weights_are_not_mixed_in(tmp_path: Path) -> None:
    old, new = make_shard(["a", "b"], weights="old"), make_shard(["b", "c"], weights="new")
    store = store_of(tmp_path, old, new)
    assert set(store.ledger(weights="old").place) == {"a", "b"}
    assert set(store.ledger(weights="new").place) == {"b", "c"}
    assert store.ledger() == store.ledger(weights="new")
    assert store.ledger(weights="other") == Ledger()


def test_row_digests_are_blake2b_of_the_bytes_as_stored() -> None:
    matrix = np.arange(12, dtype=np.float16).reshape(4, 3)
    expected = [blake2b(row.tobytes(), digest_size=16).hexdigest() for row in matrix]
    assert row_digests(matrix).tolist() == expected
    assert row_digests(matrix.T.copy().T).tolist() == expected
    assert row_digests(matrix[:0]).tolist() == []
    joined = b"".join(bytes.fromhex(row) for row in expected)
    assert rows_digest(expected) == blake2b(joined, digest_size=16).hexdigest()


# ---------------------------------------------------------------- rows over several shards

IMAGES = [f"{image:02x}" for image in range(12)]


def three_shards() -> tuple[Shard, ...]:
    parts = IMAGES[:5], IMAGES[5:6], IMAGES[6:]
    return tuple(make_shard(part, seed=number) for number, part in enumerate(parts))


def in_order(images: Sequence[str]) -> NDArray[Any]:
    everything = np.concatenate([shard.features for shard in three_shards()])
    return everything[[IMAGES.index(image) for image in images]]


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(images=st.lists(st.sampled_from(IMAGES), min_size=1, max_size=20), data=st.data())
def test_rows_in_any_order_and_number_are_those_of_the_images(
    images: list[str], data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = store_of(folder, *three_shards())
        rows = store.rows(images, store.ledger())
        expected = in_order(images)
        start, stop = data.draw(st.tuples(st.integers(0, 20), st.integers(0, 20)))
        assert (rows.shape, rows.dtype) == (expected.shape, expected.dtype)
        assert_array_equal(rows[start:stop], expected[start:stop])
        assert rows.digest == rows_digest(row_digests(expected))
        path = write_index(folder, store, images)
        assert_array_equal(read_features(path), expected)
        assert artifact.content_id(path, Embeddings, "clip/features") == rows.digest
        inspect(path)


def test_consecutive_rows_are_one_run(tmp_path: Path) -> None:
    store = store_of(tmp_path, *three_shards())
    rows = store.rows([*IMAGES[1:4], *IMAGES[5:8], IMAGES[0]], store.ledger())
    runs = [(path.stem, start, stop) for path, _, start, stop in rows.runs]
    assert runs == [("000000", 1, 4), ("000001", 0, 1), ("000002", 0, 2), ("000000", 0, 1)]


def test_the_same_rows_from_other_shards_are_the_same_content(tmp_path: Path) -> None:
    whole = in_order(IMAGES)
    one = make_shard(IMAGES, features=whole, row=row_digests(whole))
    ids = set()
    for name, shards in {"three": three_shards(), "one": (one,)}.items():
        store = store_of(tmp_path / name, *shards)
        path = write_index(tmp_path / name, store, IMAGES)
        ids.add(
            (
                artifact.content_id(path, Embeddings, "clip/features"),
                artifact.header(path).content_id,
            )
        )
    assert len(ids) == 1


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index over three shards, in a run directory of its own."""
    folder = tmp_path / "run"
    return write_index(folder, store_of(folder, *three_shards()), IMAGES)


def shard_of(index: Path, number: int) -> Path:
    (folder,) = (index.parent / "embeddings").iterdir()
    return folder / f"{number:06d}.h5"


def test_plain_h5py_reads_the_rows_through_the_index(index: Path) -> None:
    with h5py.File(index) as file:
        assert file["clip/features"].is_virtual
        assert np.isnan(file["clip/features"].fillvalue)
        assert_array_equal(file["clip/features"][:], in_order(IMAGES))
        assert index.stat().st_size < 100_000


def test_the_run_may_be_moved(index: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "deeper"
    moved.parent.mkdir()
    shutil.move(index.parent, moved)
    assert_array_equal(read_features(moved / index.name), in_order(IMAGES))
    inspect(moved / index.name)


def test_the_index_is_read_from_any_folder(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, index.parent, index.parent / "embeddings", Path("/")):
        monkeypatch.chdir(folder)
        for path in (index, Path(os.path.relpath(index))):
            assert_array_equal(read_features(path), in_order(IMAGES))


def test_the_index_is_read_through_links(index: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(index.parent, target_is_directory=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "file.h5").symlink_to(index)
    for path in (tmp_path / "link" / index.name, tmp_path / "links" / "file.h5"):
        assert_array_equal(read_features(path), in_order(IMAGES))
        inspect(path)


def test_shards_of_another_run_in_the_working_folder_are_not_taken(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 looks for the files of virtual datasets in the working folder, too."""
    shutil.copytree(index.parent, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    shard_of(index, 1).unlink()
    with pytest.raises(DamagedArtifact, match=r"000001\.h5 is missing"):
        artifact.read(index, Embeddings)


# ---------------------------------------------------------------- lost and damaged shards


def remove(shard: Path) -> None:
    shard.unlink()


def replace_by_another(shard: Path) -> None:
    artifact.write(shard, make_shard(IMAGES[5:6], seed=99), provenance())


def replace_by_a_neighbour(shard: Path) -> None:
    shard.write_bytes(shard.with_name("000000.h5").read_bytes())


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-200])


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


LOSSES = [remove, replace_by_another, replace_by_a_neighbour, truncate, empty]
Look = Callable[[Path], Any]
LOOKS: list[Look] = [
    lambda path: artifact.read(path, Embeddings),
    lambda path: artifact.check(path, Embeddings),
    lambda path: artifact.read_value(path, Embeddings, "clip/features"),
    inspect,
]


@pytest.mark.parametrize("look", LOOKS, ids=["read", "check", "read_value", "inspect"])
@pytest.mark.parametrize("lose", LOSSES)
def test_a_lost_shard_is_named_with_the_remedy(
    index: Path, lose: Callable[[Path], None], look: Look
) -> None:
    lose(shard_of(index, 1))
    with pytest.raises(DamagedArtifact) as raised:
        look(index)
    message = str(raised.value)
    assert str(shard_of(index, 1)) in message
    assert f"`clusterpipe embed --run-dir {index.parent}`" in message


def test_a_shard_that_is_lost_while_rows_are_read_does_not_read_as_nothing(index: Path) -> None:
    rows = artifact.read(index, Embeddings).spaces["clip"].features
    assert_array_equal(next(blocks(rows, 4)), in_order(IMAGES)[:4])
    shard_of(index, 2).unlink()
    assert_array_equal(rows[0:6], in_order(IMAGES)[:6])
    with pytest.raises(DamagedArtifact, match=r"000002\.h5 is missing"):
        rows[4:8]


def flip_a_feature(shard: Path) -> None:
    with h5py.File(shard) as file:
        offset = file["features"].id.get_offset()
    data = bytearray(shard.read_bytes())
    data[offset + 3] ^= 4
    shard.write_bytes(data)


def test_changed_features_of_a_shard_are_found_before_they_are_read(index: Path) -> None:
    features = artifact.read(index, Embeddings).spaces["clip"].features
    flip_a_feature(shard_of(index, 2))
    for look in (inspect, read_features, lambda path: features[:]):
        with pytest.raises(DamagedArtifact, match=r"000002\.h5 is damaged"):
            look(index)
    with pytest.raises(DamagedArtifact, match=r"000002\.h5 is damaged"):
        inspect(shard_of(index, 2))
    assert_array_equal(features[:6], in_order(IMAGES)[:6])


def test_changed_features_of_a_shard_without_a_seal_do_not_fit_their_content_id(
    index: Path,
) -> None:
    shard = shard_of(index, 2)
    flip_a_feature(shard)
    for path, place in ((index, "/clip/features"), (shard, "/features")):
        unsealed(path)
        with pytest.raises(DamagedArtifact, match=f"{place} does not fit its content id"):
            inspect(path)


def test_an_index_that_lost_its_list_of_shards_is_damaged(index: Path) -> None:
    with edited(index) as file:
        del file["clip/shard"]
    with pytest.raises(DamagedArtifact, match=str(index)):
        artifact.read(index, Embeddings)


def test_an_index_does_not_outlive_its_rows_when_written(tmp_path: Path) -> None:
    """Rows that vanish before the index is written leave no index."""
    store = store_of(tmp_path, *three_shards())
    rows = store.rows(IMAGES, store.ledger())
    store.path(1).unlink()
    space = Space(features=rows, shard=text([]), shard_id=text([]))
    record = replace(sample(Embeddings, n=12), spaces={"clip": space})
    with pytest.raises(MissingArtifact, match=r"000001\.h5"):
        artifact.write(tmp_path / "embeddings.h5", record, provenance())
    assert not (tmp_path / "embeddings.h5").exists()
