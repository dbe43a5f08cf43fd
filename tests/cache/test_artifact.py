"""Artifacts on disk: every schema there and back, content ids, plain HDF5, and every damage."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import Field, fields, replace
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
from faults import edited, flip_bits, isolated, zero_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from records import GROUPS, assert_same, datasets, in_memory, provenance, sample

from clusterpipe.cache import artifact, seal
from clusterpipe.cache.artifact import StoredRows
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact, RunLocked
from clusterpipe.cache.inspection import inspect
from clusterpipe.cache.rows import BLOCK, MappedRows
from clusterpipe.cache.schema import (
    ARTIFACTS,
    Artifact,
    Attribute,
    Embeddings,
    Groups,
    KEstimate,
    Metrics,
    Refined,
    Shard,
    Space,
    WordFeatures,
)

KINDS: tuple[type[Artifact], ...] = (*ARTIFACTS, Shard, WordFeatures)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
STAMPED = [
    "format",
    "artifact",
    "schema",
    "stage",
    "stage_version",
    "key",
    "content_id",
    "config",
    "how",
    "inputs",
    "seed",
    "code_version",
    "created",
    "seconds",
    "device",
    "packages",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "artifact.h5"


def written(path: Path, kind: type[Artifact], **options: Any) -> Any:
    """A sample of `kind`, which has been written to `path`."""
    record = sample(kind, **options)
    artifact.write(path, record, provenance(schema=record.schema))
    return record


# ---------------------------------------------------------------- there and back


@pytest.mark.slow
@every_kind
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), optional=st.booleans(), size=st.integers(0, 3))
def test_what_is_read_is_what_was_written(
    kind: type[Artifact], seed: int, optional: bool, size: int
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "artifact.h5"
        # x, y and r count what may be absent: skipped images, classes, splits.
        record = written(path, kind, seed=seed, optional=optional, x=size, y=size, r=size, c=size)
        assert_same(in_memory(artifact.read(path, kind)), record)
        inspect(path)


@every_kind
def test_an_artifact_without_rows_is_read_back(kind: type[Artifact], path: Path) -> None:
    record = written(path, kind, n=0, m=0, t=0, s=0)
    assert_same(in_memory(artifact.read(path, kind)), record)
    inspect(path)


def test_large_matrices_stay_on_disk_until_their_rows_are_asked_for(path: Path) -> None:
    record = written(path, Embeddings, n=40)
    features = artifact.read(path, Embeddings).spaces["clip"].features
    expected = record.spaces["clip"].features
    assert isinstance(features, StoredRows)
    assert (features.shape, features.dtype) == (expected.shape, expected.dtype)
    assert_array_equal(features[7:19], expected[7:19])
    assert_array_equal(features[30:99], expected[30:])
    assert features[40:50].shape == (0, expected.shape[1])


@every_kind
def test_any_program_that_reads_hdf5_finds_data_and_meaning(
    kind: type[Artifact], path: Path
) -> None:
    record = written(path, kind)
    with h5py.File(path) as file:
        assert set(STAMPED) <= set(file.attrs)
        assert (file.attrs["artifact"], file.attrs["schema"]) == (kind.name, kind.schema)
        assert all(isinstance(file.attrs[name], str) for name in ("key", "config", "content_id"))
        for place, spec in datasets(kind).items():
            attributes = dict(file[place].attrs)
            assert len(attributes.pop("content_id")) == 32
            assert attributes == {"dims": spec.dims, "unit": spec.unit, "doc": spec.doc}
            assert spec.doc
        found = [name for name in file if isinstance(file[name], h5py.Group)]
    if any(isinstance(f.metadata["hdf5"], Groups) for f in fields(kind)):
        assert set(GROUPS) <= set(found)
    assert record.name == kind.name


def test_the_names_that_other_programs_rely_on(path: Path) -> None:
    record = written(path, Embeddings, n=6, x=2)
    with h5py.File(path) as file:
        assert list(file["id"].asstr()[:]) == list(record.id)
        assert [path.decode() for path in file["skipped/path"]] == list(record.skipped_path)
        assert_array_equal(file["clip/features"][:], record.spaces["clip"].features)
        assert_array_equal(file["label"][:], record.label)


@every_kind
def test_what_is_stamped_does_not_hide_what_is_declared(kind: type[Artifact]) -> None:
    declared = {f.name for f in fields(kind) if isinstance(f.metadata["hdf5"], Attribute)}
    assert not declared & set(STAMPED)


# ---------------------------------------------------------------- content ids


def ids(path: Path, kind: type[Artifact]) -> dict[str, str]:
    places = datasets(kind)
    return {place: artifact.content_id(path, kind, place) for place in places} | {
        "": artifact.content_id(path, kind, "")
    }


@every_kind
def test_content_ids_depend_on_the_data_alone(kind: type[Artifact], tmp_path: Path) -> None:
    one, other = tmp_path / "a.h5", tmp_path / "b" / "c.h5"
    returned = artifact.write(one, sample(kind, seed=3), provenance(schema=kind.schema))
    again = artifact.write(
        other, sample(kind, seed=3), provenance(seconds=9.0, seed=8, schema=kind.schema)
    )
    assert returned == again == artifact.header(one).content_id
    assert ids(one, kind) == ids(other, kind)
    assert artifact.header(one).key != artifact.header(other).key


def changed(value: Any) -> Any:
    """The same value with one entry different."""
    if isinstance(value, str):
        return value + "x"
    if not isinstance(value, np.ndarray):
        return value + 1
    value = value.copy()
    value.flat[-1] = value.flat[-1] + ("x" if value.dtype == object else 1)
    return value


def with_value(record: Any, place: str, change: Callable[[Any], Any]) -> Any:
    """The record with the dataset at `place` changed."""
    head, _, rest = place.strip("/").partition("/")
    if head in GROUPS:
        (field,) = (f for f in fields(record) if isinstance(f.metadata["hdf5"], Groups))
        members = dict(getattr(record, field.name))
        members[head] = with_value(members[head], rest, change)
        return replace(record, **{field.name: members})
    (name,) = (f.name for f in fields(record) if _path(f) == place.strip("/"))
    return replace(record, **{name: change(getattr(record, name))})


def _path(field: Field[Any]) -> str:
    return getattr(field.metadata["hdf5"], "path", "") or field.name


@pytest.mark.slow
@every_kind
def test_any_changed_value_changes_its_own_content_id_and_the_whole(
    kind: type[Artifact], tmp_path: Path
) -> None:
    record = written(tmp_path / "a.h5", kind, seed=1)
    before = ids(tmp_path / "a.h5", kind)
    for place, spec in datasets(kind).items():
        artifact.write(
            tmp_path / "b.h5", with_value(record, place, changed), provenance(schema=record.schema)
        )
        after = ids(tmp_path / "b.h5", kind)
        different = {name for name in before if before[name] != after[name]}
        assert different == ({place} if spec.address else {place, ""})


def test_where_rows_lie_is_no_part_of_the_content(tmp_path: Path) -> None:
    addresses = [place for place, spec in datasets(Embeddings).items() if spec.address]
    assert addresses == [f"/{g}/{name}" for g in GROUPS for name in ("shard", "shard_id")]


def test_another_dtype_or_shape_of_the_same_bytes_is_another_content(path: Path) -> None:
    record = sample(Refined, n=6, e=4, t=3)
    matrix = np.zeros((6, 4), np.float32)
    variants = [matrix, matrix.astype(np.float16), matrix.reshape(4, 6), matrix.reshape(12, 2)]
    variants.append(np.zeros((6, 2), np.float64))
    found = {artifact.write(path, replace(record, features=v), provenance()) for v in variants}
    assert len(found) == len(variants)


def test_attributes_and_parameters_are_content(path: Path) -> None:
    estimate, refined = sample(KEstimate), sample(Refined)
    first = artifact.write(path, estimate, provenance())
    assert first != artifact.write(path, replace(estimate, reason="other"), provenance())
    first = artifact.write(path, refined, provenance())
    parameters = {name: array + 1 for name, array in refined.parameters.items()}
    other = artifact.write(path, replace(refined, parameters=parameters), provenance())
    renamed = {f"{name}_": array for name, array in refined.parameters.items()}
    third = artifact.write(path, replace(refined, parameters=renamed), provenance())
    assert len({first, other, third}) == 3


def test_rows_that_are_streamed_have_the_content_id_of_the_whole_array(tmp_path: Path) -> None:
    n = BLOCK + 17
    matrix = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    record = sample(Refined, n=n)
    doubled = MappedRows(matrix, lambda block: block * 2, width=2)
    stamp = provenance(schema=Refined.schema)
    whole = artifact.write(tmp_path / "a.h5", replace(record, features=matrix * 2), stamp)
    streamed = artifact.write(tmp_path / "b.h5", replace(record, features=doubled), stamp)
    stored = artifact.read(tmp_path / "b.h5", Refined).features
    copied = artifact.write(tmp_path / "c.h5", replace(record, features=stored), stamp)
    assert whole == streamed == copied
    assert_array_equal(stored[0:n], matrix * 2)


# ---------------------------------------------------------------- parts of an artifact


def test_single_values_are_read_by_their_place(path: Path) -> None:
    record = written(path, Embeddings, n=5)
    features = artifact.read_value(path, Embeddings, "clip/features")
    assert isinstance(features, StoredRows)
    assert_array_equal(features[0:5], record.spaces["clip"].features)
    assert_array_equal(artifact.read_value(path, Embeddings, "skipped/path"), record.skipped_path)
    assert artifact.read_value(path, Embeddings, "clip@words") == record.spaces["clip"].words
    assert artifact.read_value(path, Embeddings, "clip@normalised") is True
    assert artifact.read_value(path, Embeddings, "@default_space") == record.default_space
    assert_same(in_memory(artifact.read_value(path, Embeddings, "")), record)
    assert artifact.names(path, Embeddings) == list(GROUPS)


def test_scalars_are_read_as_plain_values(path: Path) -> None:
    record = written(path, KEstimate)
    found = artifact.read_value(path, KEstimate, "k")
    assert (found, type(found)) == (record.k, int)


@pytest.mark.parametrize("place", ["none", "clip/none", "none/features", "clip@none", "none@words"])
def test_what_is_not_there_is_none_and_absent(path: Path, place: str) -> None:
    written(path, Embeddings, optional=False)
    assert artifact.read_value(path, Embeddings, place) is None
    assert "absent" in artifact.content_id(path, Embeddings, place)


def test_the_content_id_of_a_part_is_that_of_its_data(tmp_path: Path) -> None:
    one, other = tmp_path / "a.h5", tmp_path / "b.h5"
    record = written(one, Embeddings, seed=1)
    artifact.write(other, replace(record, label=record.label + 1), provenance())
    same = "id", "clip/features", "clip@words", "class_name"
    for place in same:
        parts = [artifact.content_id(path, Embeddings, place) for path in (one, other)]
        assert parts[0] == parts[1]
    for place in ("label", ""):
        parts = [artifact.content_id(path, Embeddings, place) for path in (one, other)]
        assert parts[0] != parts[1]


def test_the_header_tells_where_an_artifact_comes_from(path: Path) -> None:
    stamp = provenance(seed=11, schema=KEstimate.schema)
    content = artifact.write(path, sample(KEstimate), stamp)
    header = artifact.header(path, KEstimate)
    assert header.identity == stamp.identity
    assert header.key == stamp.identity.key()
    assert (header.artifact, header.content_id) == ("k_estimate", content)
    assert header.attributes["seconds"] == 1.0


# ---------------------------------------------------------------- what does not fit


def test_a_record_that_does_not_fit_its_schema_is_refused_and_the_old_one_kept(path: Path) -> None:
    record = written(path, KEstimate, m=4)
    broken = [
        replace(record, length=record.length[:3]),
        replace(record, interval=np.arange(3)),
        replace(record, candidate=record.candidate.astype(float)),
        replace(record, length=record.length[None]),
    ]
    for wrong in broken:
        with pytest.raises(DamagedArtifact):
            artifact.write(path, wrong, provenance())
        assert_same(artifact.read(path, KEstimate), record)
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - hidden files count


def test_spaces_share_n_and_may_differ_in_width(path: Path) -> None:
    record = sample(Embeddings, n=5)
    spaces = {
        name: Space(features=np.zeros((5, d), np.float32)) for name, d in {"a": 3, "b": 8}.items()
    }
    artifact.write(path, replace(record, spaces=spaces), provenance())
    assert artifact.read(path, Embeddings).spaces["b"].features.shape == (5, 8)
    spaces["b"] = Space(features=np.zeros((6, 8), np.float32))
    with pytest.raises(DamagedArtifact, match=r"b/features has 6 along n"):
        artifact.write(path, replace(record, spaces=spaces), provenance())


def test_a_missing_artifact_names_the_command_that_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "k_estimate.h5"
    for read in (artifact.read, artifact.check, artifact.header, artifact.names):
        with pytest.raises(MissingArtifact) as raised:
            read(path, KEstimate)
        assert f"`clusterpipe estimate-k --run-dir {path.parent}`" in str(raised.value)
        assert raised.value.exit_code == 4


def test_what_is_not_hdf5_is_damaged(path: Path) -> None:
    path.parent.mkdir()
    for content in (b"", b"k = 3", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(DamagedArtifact, match="cannot be read as HDF5") as raised:
            artifact.read(path, KEstimate)
        assert "clusterpipe estimate-k --run-dir" in str(raised.value)


def test_foreign_hdf5_is_told_apart(path: Path) -> None:
    path.parent.mkdir()
    for mark in (None, "other", 3, [1, 2]):
        with h5py.File(path, "w") as file:
            file["k"] = 3
            if mark is not None:
                file.attrs["format"] = mark
        for look in (artifact.header, inspect):
            with pytest.raises(DamagedArtifact, match="is not a clusterpipe artifact"):
                look(path)


def test_another_artifact_in_its_place_is_named(path: Path) -> None:
    written(path, KEstimate)
    with pytest.raises(DamagedArtifact, match="holds k_estimate, not metrics"):
        artifact.read(path, Metrics)


@pytest.fixture
def embeddings(path: Path) -> Callable[[Callable[[h5py.File], object]], Path]:
    """Embeddings that were written otherwise."""

    def change(edit: Callable[[h5py.File], object]) -> Path:
        written(path, Embeddings, n=4)
        with edited(path) as file:
            edit(file)
        return path

    return change


Edit = Callable[[Callable[[h5py.File], object]], Path]


def put(file: h5py.File, place: str, value: Any) -> None:
    del file[place]
    file[place] = value


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: f.attrs.modify("schema", 99), "schema 99, this version reads 1"),
        (lambda f: f.attrs.pop("key"), "not stamped"),
        (lambda f: f.attrs.modify("config", "{"), "not stamped"),
        (lambda f: f.attrs.create("seed", "many"), "not stamped"),
        (lambda f: f.pop("digest"), "lacks /digest"),
        (lambda f: f.pop("skipped/reason"), "lacks /skipped/reason"),
        (lambda f: f.pop("clip/features"), "lacks /clip/features"),
        (lambda f: f["clip"].attrs.pop("words"), "words"),
        (lambda f: put(f, "width", np.zeros(4)), "/width holds float64, expected int"),
        (lambda f: put(f, "width", ["a", "b", "c", "d"]), "/width holds object, expected int"),
        (lambda f: put(f, "width", np.zeros(3, int)), "/width has 3 along n"),
        (lambda f: put(f, "width", np.zeros((4, 1), int)), "/width has shape"),
        (lambda f: put(f, "clip/features", np.zeros((5, 2), "f4")), "has 5 along n"),
        (lambda f: (f.pop("width"), f.create_group("width")), "/width is not a dataset"),
    ],
)
def test_an_artifact_that_does_not_fit_its_schema_says_where(
    embeddings: Edit, change: Callable[[h5py.File], object], complaint: str
) -> None:
    path = embeddings(change)
    for look in (artifact.read, artifact.check, lambda path, kind: inspect(path)):
        with pytest.raises(DamagedArtifact, match=complaint) as raised:
            look(path, Embeddings)
        assert str(path) in str(raised.value)


def test_what_the_schema_does_not_know_is_left_alone(embeddings: Edit) -> None:
    def annotate(file: h5py.File) -> None:
        file.attrs["note"] = "mine"
        file["mine/notes"] = [1, 2, 3]

    path = embeddings(annotate)
    assert set(artifact.read(path, Embeddings).spaces) == set(GROUPS)
    inspect(path)


# ---------------------------------------------------------------- damage


def test_what_another_program_changes_is_refused(path: Path) -> None:
    written(path, Embeddings)
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "mine"
    with pytest.raises(DamagedArtifact, match="is damaged"):
        artifact.read(path, Embeddings)


@pytest.mark.parametrize("kind", [KEstimate, Refined], ids=lambda kind: kind.name)
def test_no_flipped_bit_goes_unnoticed(kind: type[Artifact], path: Path) -> None:
    written(path, kind, n=30, e=8, t=20, m=40)
    assert isolated(flip_bits, path, kind, 300) == {"refused"}


def test_no_block_of_zeros_goes_unnoticed(path: Path) -> None:
    written(path, Refined, n=100, e=16, t=50)
    assert set(isolated(zero_blocks, path, Refined, 512)) <= {"refused", "unharmed"}


@pytest.mark.parametrize("place", ["label", "clip/shard", "clip", "skipped", "clip/features"])
def test_what_is_damaged_is_not_taken_for_absent(path: Path, place: str) -> None:
    written(path, Embeddings)
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file[place].id).addr
    data = bytearray(path.read_bytes())
    data[address + 16] ^= 1
    path.write_bytes(data)
    for look in (artifact.read, artifact.check, lambda path, kind: inspect(path)):
        with pytest.raises(DamagedArtifact):
            look(path, Embeddings)
    with pytest.raises(DamagedArtifact):
        artifact.read_value(path, Embeddings, place)
    with pytest.raises(DamagedArtifact):
        artifact.content_id(path, Embeddings, place)


def test_a_truncated_file_is_always_refused(path: Path, tmp_path: Path) -> None:
    written(path, Embeddings)
    data = path.read_bytes()
    for length in {*range(0, len(data), 97), *range(64), len(data) - 1}:
        (tmp_path / "short.h5").write_bytes(data[:length])
        with pytest.raises(DamagedArtifact):
            artifact.read(tmp_path / "short.h5", Embeddings)


def test_a_changed_string_is_found_by_its_content_id(path: Path) -> None:
    record = sample(Embeddings, n=3)
    names = np.array(["photos/eins.jpg", "photos/zwei.jpg", "photos/drei.jpg"], dtype=object)
    artifact.write(path, replace(record, id=names), provenance())
    path.write_bytes(path.read_bytes().replace(b"zwei.jpg", b"zwey.jpg"))
    seal.stamp(path, "none")
    with pytest.raises(DamagedArtifact, match=r"/id does not fit its content id"):
        inspect(path)


def test_a_changed_attribute_is_found_by_inspect(embeddings: Edit) -> None:
    path = embeddings(lambda file: file["clip"].attrs.modify("words", "open sesame"))
    with pytest.raises(DamagedArtifact, match="does not fit its content id"):
        inspect(path)


def test_changed_provenance_is_found_by_inspect(embeddings: Edit) -> None:
    path = embeddings(lambda file: file.attrs.modify("seed", 12345))
    with pytest.raises(DamagedArtifact, match="provenance does not fit its key"):
        inspect(path)


def test_a_file_that_a_notebook_has_open_is_read(path: Path) -> None:
    record = written(path, KEstimate)
    with h5py.File(path):
        assert_same(artifact.read(path, KEstimate), record)


def test_a_file_that_another_program_is_writing_is_not_taken_for_damaged(path: Path) -> None:
    written(path, KEstimate)
    script = (
        f"import h5py; file = h5py.File({str(path)!r}, 'r+'); print('open', flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=PIPE, stdout=PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(RunLocked, match="open for writing in another program"):
            artifact.read(path, KEstimate)
        holder.communicate("\n")
    artifact.read(path, KEstimate)
