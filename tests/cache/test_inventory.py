"""What a survey says of a source that has changed since it was recorded."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import sample

from clusterpipe.cache import inventory
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.inventory import Survey, index_identity, reordered
from clusterpipe.cache.provenance import digest
from clusterpipe.cache.schema import Embeddings
from clusterpipe.cache.shards import row_digests
from clusterpipe.cache.sources import FeatureSource, ImageSource, SourceConfig, open_source
from clusterpipe.cache.sources.folder import open_folder
from clusterpipe.cache.sources.manifest import Manifest, strings

UNCHANGED: dict[str, Any] = {"new": 0, "changed": 0, "removed": 0, "touched": 0, "columns": ()}


def survey(source: Any, index: Embeddings, **how: bool) -> Survey:
    """The survey, which is the same if the run remembers what it was made from."""
    found = inventory.survey(source, index, **how)
    known = index_identity(index)
    assert inventory.survey(source, index, **how, known=known) == found
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Files that are called images; a survey decodes none."""
    for name in ("a.jpg", "b.jpg", "c/d.jpg", "c/e.jpg"):
        write(tmp_path / "photos" / name, f"content of {name}")
    return tmp_path / "photos"


def write(path: Path, content: str, mtime: int = 1_600_000_000_000_000_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, ns=(mtime, mtime))


def touch(path: Path) -> None:
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


def recorded(
    source: ImageSource, *, bad: tuple[str, ...] = (), unread: tuple[str, ...] = ()
) -> Embeddings:
    """The index an embedding of `source` leaves; `bad` cannot be decoded, `unread` not read."""
    manifest = source.manifest
    digests = [
        "" if name in unread else digest(source.read(row)) for row, name in enumerate(manifest.id)
    ]
    refused = np.array([name in (*bad, *unread) for name in manifest.id], bool)
    scanned = len(manifest.skipped_path)
    n = int((~refused).sum())
    kept = manifest.take(np.flatnonzero(~refused))
    columns = {name: getattr(kept, name) for name in inventory.COLUMNS}
    zeros = np.zeros(scanned, np.int64)
    return replace(
        sample(Embeddings, n=n, optional=False),
        **{name: getattr(kept, name) for name in ("id", "path", "size", "mtime")},
        **columns,
        digest=strings(np.array(digests, object)[~refused]),
        skipped_path=strings([*manifest.id[refused], *manifest.skipped_path]),
        skipped_reason=strings(["damaged"] * (int(refused.sum()) + scanned)),
        skipped_size=np.concatenate([manifest.size[refused], zeros]),
        skipped_mtime=np.concatenate([manifest.mtime[refused], zeros]),
        skipped_digest=strings([*np.array(digests, object)[refused], *[""] * scanned]),
        fingerprint="",
    )


def told(found: Survey) -> dict[str, Any]:
    """What differs from an unchanged source, without the identity."""
    everything = {name: getattr(found, name) for name in UNCHANGED}
    return {name: value for name, value in everything.items() if value != UNCHANGED[name]}


def test_an_unchanged_folder_is_told_from_sizes_and_times_alone(photos: Path) -> None:
    index = recorded(open_folder(photos))
    for file in photos.rglob("*.jpg"):  # other bytes, but nobody has a reason to look
        write(file, "X" * file.stat().st_size)
    found = survey(open_folder(photos), index)
    assert told(found) == {}
    assert found.identity == index_identity(index)
    assert found.reasons() == []


def test_a_touched_file_is_hashed_and_found_the_same(photos: Path) -> None:
    index = recorded(open_folder(photos))
    touch(photos / "a.jpg")
    touch(photos / "c/d.jpg")
    found = survey(open_folder(photos), index)
    assert told(found) == {"touched": 2}
    assert found.identity == index_identity(index)
    assert found.reasons() == []


def test_a_changed_file_is_found_by_its_content(photos: Path) -> None:
    index = recorded(open_folder(photos))
    write(photos / "a.jpg", "CONTENT of a.jpg", mtime=1)
    found = survey(open_folder(photos), index)
    assert told(found) == {"changed": 1}
    assert found.reasons() == ["1 changed image"]
    assert found.identity not in (None, index_identity(index))


def test_another_size_at_the_same_time_is_a_change(photos: Path) -> None:
    index = recorded(open_folder(photos))
    write(photos / "a.jpg", "longer than before")
    assert told(survey(open_folder(photos), index)) == {"changed": 1}


def test_new_and_removed_files_are_counted(photos: Path) -> None:
    index = recorded(open_folder(photos))
    (photos / "b.jpg").unlink()
    for name in ("f.jpg", "c/g.jpg"):
        write(photos / name, "new")
    found = survey(open_folder(photos), index)
    assert told(found) == {"new": 2, "removed": 1}
    assert found.reasons() == ["2 new images", "1 removed image"]
    assert found.identity is None


def test_without_new_files_the_identity_of_what_remains_is_known(photos: Path) -> None:
    index = recorded(open_folder(photos))
    (photos / "b.jpg").unlink()
    source = open_folder(photos)
    assert survey(source, index).identity == index_identity(recorded(source))


def test_a_renamed_file_is_one_less_and_one_more(photos: Path) -> None:
    index = recorded(open_folder(photos))
    (photos / "b.jpg").rename(photos / "z.jpg")
    assert told(survey(open_folder(photos), index)) == {"new": 1, "removed": 1}


def test_everything_at_once(photos: Path) -> None:
    index = recorded(open_folder(photos))
    (photos / "a.jpg").unlink()
    write(photos / "b.jpg", "changed", mtime=2)
    touch(photos / "c/d.jpg")
    write(photos / "new.jpg", "new")
    found = survey(open_folder(photos), index)
    assert told(found) == {"new": 1, "changed": 1, "removed": 1, "touched": 1}
    assert found.reasons() == ["1 new image", "1 changed image", "1 removed image"]


def test_files_alike_are_told_apart_by_name(photos: Path) -> None:
    write(photos / "copy.jpg", "content of a.jpg")
    index = recorded(open_folder(photos))
    assert told(survey(open_folder(photos), index)) == {}
    (photos / "a.jpg").unlink()
    assert told(survey(open_folder(photos), index)) == {"removed": 1}


# ---------------------------------------------------------------- bad files


def test_known_bad_files_are_no_news(photos: Path) -> None:
    index = recorded(open_folder(photos), bad=("a.jpg",), unread=("b.jpg",))
    found = survey(open_folder(photos), index)
    assert told(found) == {}
    assert found.identity == index_identity(index)


def test_a_repaired_file_is_a_changed_one(photos: Path) -> None:
    index = recorded(open_folder(photos), bad=("a.jpg",))
    write(photos / "a.jpg", "repaired", mtime=3)
    assert told(survey(open_folder(photos), index)) == {"changed": 1}


def test_a_good_file_that_became_unreadable_is_told(photos: Path) -> None:
    index = recorded(open_folder(photos))
    (photos / "a.jpg").unlink()
    (photos / "a.jpg").symlink_to("nowhere.jpg")
    found = survey(open_folder(photos), index)
    assert told(found) == {"removed": 1}
    assert found.identity != index_identity(index)


def test_a_broken_link_is_news_once(photos: Path) -> None:
    index = recorded(open_folder(photos))
    (photos / "link.jpg").symlink_to("nowhere.jpg")
    source = open_folder(photos)
    assert list(source.manifest.skipped_path) == ["link.jpg"]
    assert told(survey(source, index)) == {"new": 1}
    after = recorded(source)
    found = survey(open_folder(photos), after)
    assert told(found) == {}
    assert found.identity == index_identity(after)


def test_a_mended_link_is_a_changed_image(photos: Path) -> None:
    (photos / "link.jpg").symlink_to("nowhere.jpg")
    index = recorded(open_folder(photos))
    write(photos / "nowhere.jpg", "here")
    assert told(survey(open_folder(photos), index)) == {"new": 1, "changed": 1}


def test_a_broken_link_that_goes_is_removed(photos: Path) -> None:
    (photos / "link.jpg").symlink_to("nowhere.jpg")
    index = recorded(open_folder(photos))
    (photos / "link.jpg").unlink()
    assert told(survey(open_folder(photos), index)) == {"removed": 1}


# ---------------------------------------------------------------- ground truth


def test_labels_are_told_and_are_no_part_of_the_identity(photos: Path) -> None:
    index = recorded(open_folder(photos))
    found = survey(open_folder(photos, labels_from_folders=True), index)
    assert told(found) == {"columns": ("label", "class_name")}
    assert found.identity == index_identity(index)
    labelled = recorded(open_folder(photos, labels_from_folders=True))
    assert told(survey(open_folder(photos), labelled)) == {"columns": ("label", "class_name")}
    assert told(survey(open_folder(photos, labels_from_folders=True), labelled)) == {}


def with_columns(source: ImageSource, **columns: Any) -> ImageSource:
    manifest = replace(source.manifest, **columns)
    return replace(source, manifest=manifest)  # type: ignore[type-var]


def test_single_changes_of_ground_truth_are_told_by_column(photos: Path) -> None:
    source = open_folder(photos)
    known = {
        "label": np.array([0, 1, 1, -1], np.int32),
        "class_name": strings(["cat", "dog"]),
        "split": strings(["train", "train", "test", "test"]),
    }
    index = recorded(with_columns(source, **known))
    assert told(survey(with_columns(source, **known), index)) == {}
    changes: Mapping[str, Any] = {
        "label": np.array([0, 1, 1, 0], np.int32),
        "class_name": strings(["cat", "hound"]),
        "split": strings(["train", "train", "train", "test"]),
    }
    for name, column in changes.items():
        found = survey(with_columns(source, **{**known, name: column}), index)
        assert told(found) == {"columns": (name,)}


def test_ground_truth_is_compared_by_name_whatever_the_order(photos: Path) -> None:
    source = open_folder(photos)
    splits = strings(["train", "train", "test", "val"])
    index = recorded(with_columns(source, split=splits))
    order = np.array([2, 0, 3, 1])
    mixed = replace(
        index,
        **{name: getattr(index, name)[order] for name in ("id", "path", "size", "mtime")},
        digest=index.digest[order],
        split=splits[order],
    )
    assert told(survey(with_columns(source, split=splits), mixed)) == {}
    assert index_identity(mixed) == index_identity(index)
    write(photos / "new.jpg", "new")
    grown = open_folder(photos)
    splits = strings(["train", "train", "test", "val", "train"])
    assert told(survey(with_columns(grown, split=splits), mixed)) == {"new": 1}


def test_columns_are_reordered_by_id() -> None:
    manifest = Manifest(
        id=strings("abcd"), path=strings("abcd"), size=np.zeros(4, int), mtime=np.zeros(4, int)
    )
    column = np.array([10, 11, 12, 13])
    assert reordered(column, manifest, strings("dba")).tolist() == [13, 11, 10]


def test_ids_that_come_twice_are_refused(photos: Path) -> None:
    source = open_folder(photos)
    twice = with_columns(source, id=strings(["a", "b", "a", "c"]))
    with pytest.raises(UsageError, match="ids must be unique"):
        survey(twice, recorded(source))


def test_hashing_is_reported_as_progress(photos: Path) -> None:
    steps: list[int] = []

    class Watch:
        def __init__(self, what: str, *, total: int | None, unit: str) -> None:
            steps.append(total or 0)

        def __enter__(self) -> Any:
            return steps.append

        def __exit__(self, *error: object) -> None: ...

    inventory.known_digests(open_folder(photos), {}, progress=Watch)
    assert steps == [4, 1, 1, 1, 1]


# ---------------------------------------------------------------- features given by the user


@pytest.fixture
def features(tmp_path: Path) -> Path:
    path = tmp_path / "features.npz"
    save(path, np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32))
    return path


def save(path: Path, matrix: Any, **columns: Any) -> None:
    np.savez(path, features=matrix, **columns)


def given(path: Path, limit: int = 0) -> FeatureSource:
    source = open_source(SourceConfig(path=str(path), limit=limit))
    assert isinstance(source, FeatureSource)
    return source


def given_index(source: FeatureSource) -> Embeddings:
    manifest = source.manifest
    rows = source.spaces["features"]
    nothing = np.zeros(0, np.int64)
    return replace(
        sample(Embeddings, n=len(manifest), x=0, optional=False),
        **{name: getattr(manifest, name) for name in ("id", "path", "size", "mtime")},
        **{name: getattr(manifest, name) for name in inventory.COLUMNS},
        digest=row_digests(rows[0 : rows.shape[0]]),
        skipped_size=nothing,
        skipped_mtime=nothing,
        fingerprint=source.fingerprint(),
    )


def test_unchanged_features_are_trusted(features: Path) -> None:
    index = given_index(given(features))
    found = survey(given(features), index)
    assert told(found) == {}
    assert found.identity == index_identity(index)


def test_touched_features_are_hashed_and_found_the_same(features: Path) -> None:
    index = given_index(given(features))
    touch(features)
    found = survey(given(features), index)
    assert told(found) == {"touched": 10}
    assert found.identity == index_identity(index)


def test_changed_features_are_all_changed(features: Path) -> None:
    index = given_index(given(features))
    matrix = np.load(features)["features"]
    matrix[3, 2] += 1
    save(features, matrix)
    touch(features)
    found = survey(given(features), index)
    assert told(found) == {"changed": 10}
    assert found.identity != index_identity(index)


def test_more_and_fewer_rows_are_counted(features: Path) -> None:
    index = given_index(given(features))
    save(features, np.ones((12, 4), np.float32))
    touch(features)
    assert told(survey(given(features), index)) == {"new": 2, "changed": 10}
    save(features, np.ones((7, 4), np.float32))
    touch(features)
    assert told(survey(given(features), index)) == {"changed": 7, "removed": 3}


def test_a_limit_is_another_selection_of_the_same_rows(features: Path) -> None:
    some, everything = given_index(given(features, limit=4)), given_index(given(features))
    grown = survey(given(features), some)
    assert told(grown) == {"new": 6}
    assert grown.identity == index_identity(everything)
    shrunk = survey(given(features, limit=4), everything)
    assert told(shrunk) == {"removed": 6}
    assert shrunk.identity == index_identity(some)


def test_labels_added_to_the_file_of_features_leave_the_features_known(features: Path) -> None:
    index = given_index(given(features))
    save(features, np.load(features)["features"], labels=np.arange(10) % 3)
    touch(features)
    expected = {"touched": 10, "columns": ("label", "class_name")}
    assert told(survey(given(features), index)) == expected
