"""Images through a real backbone: order, batches, padding, and what is left out."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import tiny_backbone
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from program import draw
from timm.data.transforms_factory import create_transform

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.provenance import digest
from clusterpipe.cache.sources import ImageSource
from clusterpipe.cache.sources.folder import open_folder
from clusterpipe.cache.sources.manifest import Manifest
from clusterpipe.stages.backbones import Backbone, open_backbone, parse
from clusterpipe.stages.backbones.extraction import Extract, extract

N = 11


def nothing_known(digest: str) -> bool:
    return False


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    definition = tiny_backbone.save(tmp_path_factory.mktemp("weights") / "tiny.pt")
    return open_backbone(parse(definition), device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eleven pictures of different sizes."""
    for number in range(N):
        draw(number % 4, number, size=40 + number).save(tmp_path / f"{number:02d}.png")
    return tmp_path


def features(extracts: Sequence[Extract]) -> np.ndarray[Any, Any]:
    return np.concatenate([extract.features for extract in extracts])


def run(
    photos: Path, backbone: Backbone, rows: Sequence[int] = range(N), **options: Any
) -> list[Extract]:
    known = options.pop("known", nothing_known)
    return list(extract(open_folder(photos), rows, backbone, known=known, **options))


def test_features_are_those_of_the_images_in_their_order(photos: Path, backbone: Backbone) -> None:
    """Against timm itself, one image at a time."""
    model: Any = timm.create_model("test_vit", img_size=32, num_classes=0).eval()
    state = torch.load(Path(backbone.spec.weights), weights_only=True)
    model.load_state_dict(state, strict=False)
    settings = {**tiny_backbone.SETTINGS, "input_size": (3, 32, 32)}
    transform: Any = create_transform(**settings, is_training=False)
    files = sorted(photos.glob("*.png"))
    with torch.no_grad():
        single = [model(transform(Image.open(file).convert("RGB"))[None])[0] for file in files]
    extracts = run(photos, backbone, batch_size=4)
    assert features(extracts).dtype == np.float32
    assert_allclose(features(extracts), torch.stack(single).numpy(), atol=1e-5)
    looked_at = [loaded for extract in extracts for loaded in extract.looked_at]
    assert [loaded.row for loaded in looked_at] == list(range(N))
    assert [loaded.digest for loaded in looked_at] == [digest(file.read_bytes()) for file in files]
    assert [(loaded.width, loaded.height) for loaded in looked_at] == [
        (40 + number, 40 + number) for number in range(N)
    ]


def test_rows_may_be_any_in_any_order(photos: Path, backbone: Backbone) -> None:
    everything = features(run(photos, backbone, batch_size=4))
    order = [7, 2, 9, 2, 0]
    extracts = run(photos, backbone, order, batch_size=2)
    assert [[loaded.row for loaded in e.looked_at] for e in extracts] == [[7, 2], [9, 2], [0]]
    assert_allclose(features(extracts), everything[order], atol=1e-5)
    assert run(photos, backbone, []) == []


@pytest.mark.parametrize("batch_size", [1, 3, 11, 64])
def test_the_batch_size_does_not_change_features(
    photos: Path, backbone: Backbone, batch_size: int
) -> None:
    extracts = run(photos, backbone, batch_size=batch_size)
    assert [len(extract.features) for extract in extracts] == [
        min(batch_size, N - start) for start in range(0, N, batch_size)
    ]
    assert_allclose(features(extracts), features(run(photos, backbone)), atol=1e-5)


def test_without_a_batch_size_a_cpu_takes_32(tmp_path: Path, backbone: Backbone) -> None:
    for number in range(40):
        draw(number % 4, number, size=32).save(tmp_path / f"{number:02d}.png")
    assert [len(extract.features) for extract in run(tmp_path, backbone, range(40))] == [32, 8]


@dataclass
class Padded:
    """A real backbone that notes the shape of what it is given, and which slots hold images."""

    backbone: Backbone
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    slots: list[list[int]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backbone, name)

    def encode_images(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.shapes.append(batch.shape)
        self.slots.append(np.flatnonzero(batch.any(axis=(1, 2, 3))).tolist())
        return self.backbone.encode_images(batch)


def test_every_batch_is_padded_to_the_same_shape(photos: Path, backbone: Backbone) -> None:
    padded: Any = Padded(backbone)
    run(photos, padded, batch_size=4)
    assert padded.shapes == [(4, 3, 32, 32)] * 3


def test_a_cpu_encodes_blocks_of_8_whatever_the_batch(photos: Path, backbone: Backbone) -> None:
    found = []
    for batch_size in (8, 10, 64):
        padded: Any = Padded(backbone)
        found.append(features(run(photos, padded, batch_size=batch_size)))
        assert set(padded.shapes) == {(8, 3, 32, 32)}
    assert_array_equal(found[0], found[2])
    assert_allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("views", [0, 2])
def test_deterministic_features_depend_on_their_image_alone(
    photos: Path, backbone: Backbone, views: int
) -> None:
    padded: Any = Padded(backbone)
    one = run(photos, padded, batch_size=7, workers=1, views=views, deterministic=True)
    order = list(range(N))[::-1]
    other = run(photos, backbone, order, batch_size=64, workers=3, views=views, deterministic=True)
    assert_array_equal(features(one), features(other)[::-1])
    assert set(padded.shapes) == {(max(1, views), 3, 32, 32)}


def test_resuming_at_a_batch_boundary_gives_the_very_same_numbers(
    photos: Path, backbone: Backbone
) -> None:
    whole = features(run(photos, backbone, batch_size=4))
    resumed = features(run(photos, backbone, range(4, N), batch_size=4))
    assert_array_equal(whole[4:], resumed)


def test_the_fate_of_its_neighbours_does_not_change_a_feature(
    photos: Path, backbone: Backbone
) -> None:
    """Not even in the last bit: known and unreadable images leave their slot empty."""
    whole = run(photos, backbone, batch_size=4)
    skipped = {whole[0].looked_at[1].digest, whole[1].looked_at[0].digest}
    (photos / "03.png").write_bytes(b"damaged")
    padded: Any = Padded(backbone)
    some = run(photos, padded, batch_size=4, known=skipped.__contains__)
    assert padded.slots == [[0, 2], [1, 2, 3], [0, 1, 2]]
    kept = [row for row in range(N) if row not in (1, 3, 4)]
    assert [loaded.row for extract in some for loaded in extract.encoded] == kept
    assert_array_equal(features(some), features(whole)[kept])


def test_unreadable_images_are_reported_and_not_raised(photos: Path, backbone: Backbone) -> None:
    (photos / "00.png").write_bytes(b"")
    (photos / "05.png").write_bytes(b"no picture at all")
    half = (photos / "06.png").read_bytes()
    (photos / "06.png").write_bytes(half[: len(half) // 2])
    source = open_folder(photos)
    (photos / "08.png").unlink()
    extracts = list(extract(source, range(N), backbone, known=nothing_known, batch_size=4))
    looked_at = {loaded.row: loaded for e in extracts for loaded in e.looked_at}
    reasons = {row: loaded.reason for row, loaded in looked_at.items() if loaded.reason}
    assert reasons == {
        0: "empty file",
        5: "not an image, or of an unknown format",
        6: "truncated",
        8: "No such file or directory",
    }
    assert looked_at[8].digest == ""
    assert looked_at[5].digest == digest(b"no picture at all")
    assert all(looked_at[row].pixels is None for row in reasons)
    assert len(features(extracts)) == N - len(reasons)


def test_a_batch_of_unreadable_images_has_no_features(tmp_path: Path, backbone: Backbone) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    (only,) = run(tmp_path, backbone, range(3))
    assert only.features.shape == (0, backbone.width)
    assert only.encoded == []


@dataclass
class Watched:
    """A folder that notes which images are decoded, and by how many threads at a time."""

    source: ImageSource
    decoded: list[str] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def manifest(self) -> Manifest:
        return self.source.manifest

    def read(self, row: int) -> bytes:
        self.threads.add(threading.get_ident())
        return self.source.read(row)

    def decode(self, data: bytes, needed: int = 0) -> Image.Image:
        self.decoded.append(digest(data))
        return self.source.decode(data, needed)


def test_known_images_are_not_decoded(photos: Path, backbone: Backbone) -> None:
    source = Watched(open_folder(photos))
    known = [digest(source.read(row)) for row in (2, 3, 7)]
    extracts = list(extract(source, range(N), backbone, known=known.__contains__))
    assert not set(source.decoded) & set(known)
    assert len(source.decoded) == N - 3
    looked_at = [loaded for e in extracts for loaded in e.looked_at]
    assert [loaded.row for loaded in looked_at if loaded.digest in known] == [2, 3, 7]
    assert all(
        (loaded.pixels is None, loaded.reason) == (True, "")
        for loaded in looked_at
        if loaded.digest in known
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_threads_read_as_were_asked_for(
    photos: Path, backbone: Backbone, workers: int
) -> None:
    source = Watched(open_folder(photos))
    extracts = list(extract(source, range(N), backbone, known=nothing_known, workers=workers))
    assert 1 <= len(source.threads) <= workers
    assert threading.get_ident() not in source.threads
    assert_allclose(features(extracts), features(run(photos, backbone)), atol=1e-6)


def test_only_some_batches_are_read_ahead(tmp_path: Path, backbone: Backbone) -> None:
    for number in range(40):
        draw(0, number, size=32).save(tmp_path / f"{number:02d}.png")
    source = Watched(open_folder(tmp_path))
    batches = extract(source, range(40), backbone, known=nothing_known, batch_size=4)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(source.decoded) <= 16


@dataclass
class Failing(Watched):
    """A source that breaks in a way that is nobody's bad image."""

    def decode(self, data: bytes, needed: int = 0) -> Image.Image:
        raise ZeroDivisionError


def test_errors_that_no_image_explains_are_raised(photos: Path, backbone: Backbone) -> None:
    source = Failing(open_folder(photos))
    with pytest.raises(ZeroDivisionError):
        list(extract(source, range(N), backbone, known=nothing_known))
    with pytest.raises(UnreadableImage):
        source.source.decode(b"x")
