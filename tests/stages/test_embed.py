"""embed with a small real backbone: each image once, whatever happens to folder and run."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_backbone
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from PIL import Image
from program import draw
from records import provenance

from clusterpipe.cache import artifact
from clusterpipe.cache.artifact import VirtualRows
from clusterpipe.cache.errors import DamagedArtifact, SourceError, UsageError
from clusterpipe.cache.inspection import inspect
from clusterpipe.cache.progress import Advance, silent
from clusterpipe.cache.rows import Rows
from clusterpipe.cache.schema import Embeddings, Shard, ViewShard
from clusterpipe.cache.shards import row_digests
from clusterpipe.cache.sources import SourceConfig, open_source
from clusterpipe.stages.backbones import open_backbone, parse
from clusterpipe.stages.backbones.augmentation import view
from clusterpipe.stages.embed import SHARD_SECONDS, EmbedConfig, embed, store

pytestmark = pytest.mark.slow

N = 10


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The definition of a small backbone in a local file."""
    return tiny_backbone.save(tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def config(tiny: str) -> EmbedConfig:
    """One space, batches of 2 and shards of 4 images."""
    return EmbedConfig(backbones=(f"tiny={tiny}",), batch_size=2, shard_size=4)


def paint(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draw(number % 4, number, size=32 + number).save(file)


@dataclass
class Counting:
    """A progress that counts what was embedded, and may stop a run half-way."""

    stop_after: int = 10**9
    embedded: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def __call__(self, what: str, *, total: int | None, unit: str) -> Iterator[Advance]:
        def advance(done: int) -> None:
            if what.startswith("embedding"):
                self.embedded[what] = self.embedded.get(what, 0) + done
                if sum(self.embedded.values()) >= self.stop_after:
                    raise KeyboardInterrupt

        yield advance


@dataclass(frozen=True)
class Run:
    """A run directory with its source, used as the pipeline uses it."""

    source: Path
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "embeddings.h5"

    def embed(
        self,
        config: EmbedConfig,
        *,
        stop_after: int = 10**9,
        shard_seconds: float = SHARD_SECONDS,
        **source: Any,
    ) -> Counting:
        """Embeds what is missing and writes the index; tells how much was embedded."""
        counting = Counting(stop_after)
        previous = artifact.read(self.path, Embeddings) if self.path.exists() else None
        opened = open_source(SourceConfig(path=str(self.source), **source))
        made = embed(
            opened,
            config,
            folder=self.folder,
            previous=previous,
            shard_seconds=shard_seconds,
            progress=counting,
        )
        artifact.write(self.path, made, provenance())
        inspect(self.path)
        return counting

    def index(self) -> Embeddings:
        return artifact.read(self.path, Embeddings)

    def features(self, space: str = "tiny") -> dict[str, NDArray[Any]]:
        """The features of each image, by its id."""
        index = self.index()
        return dict(zip(index.id, whole(index.spaces[space].features), strict=True))

    def shards(self) -> list[Path]:
        return sorted(self.folder.glob("embeddings/*/*.h5"))

    def stored(self) -> list[int]:
        """How many rows each shard holds."""
        return [artifact.read(path, Shard).features.shape[0] for path in self.shards()]

    def content(self) -> dict[str, str]:
        """Content ids, less that of the whole: a copied run has files of other inodes."""
        places = ("tiny/features", "id", "digest", "label", "skipped/path", "skipped/reason")
        return {place: artifact.content_id(self.path, Embeddings, place) for place in places}

    def skipped(self) -> dict[str, str]:
        index = self.index()
        return dict(zip(index.skipped_path, index.skipped_reason, strict=True))


def whole(rows: Rows) -> NDArray[Any]:
    return rows[0 : rows.shape[0]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, config: EmbedConfig) -> Path:
    """Ten pictures in two folders, and beside them the run that has embedded them."""
    home = tmp_path_factory.mktemp("finished")
    for number in range(N):
        paint(home / "photos" / f"kind{number % 2}" / f"{number:02d}.png", number)
    Run(home / "photos", home / "run").embed(config)
    return home


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    """The pictures, not embedded yet."""
    shutil.copytree(finished / "photos", tmp_path / "photos")
    return Run(tmp_path / "photos", tmp_path / "run")


@pytest.fixture
def embedded(finished: Path, run: Run) -> Run:
    """The pictures with their finished run."""
    shutil.copytree(finished / "run", run.folder)
    return run


def expected_features(run: Run, definition: str) -> dict[str, NDArray[Any]]:
    """Each image alone through the backbone."""
    backbone = open_backbone(parse(definition), device="cpu")
    source: Any = open_source(SourceConfig(path=str(run.source)))
    prepared = (
        backbone.prepare(source.decode(source.read(row))) for row in range(len(source.manifest))
    )
    encoded = [backbone.encode_images(pixels[None])[0] for pixels in prepared]
    return dict(zip(source.manifest.id, encoded, strict=True))


def assert_alike(found: dict[str, Any], expected: dict[str, Any], **tolerance: float) -> None:
    assert set(found) == set(expected)
    for name in expected:
        assert_allclose(found[name], expected[name], err_msg=name, **tolerance)


# ---------------------------------------------------------------- each image once


def test_the_features_are_the_backbones(run: Run, config: EmbedConfig, tiny: str) -> None:
    assert run.embed(config).embedded == {"embedding with tiny": N}
    assert_alike(run.features(), expected_features(run, tiny), atol=2e-3, rtol=2e-3)
    assert run.stored() == [4, 4, 2]


def test_the_index_says_what_was_read_and_how(run: Run, config: EmbedConfig, tiny: str) -> None:
    run.embed(config)
    index = run.index()
    files = [run.source / path for path in index.path]
    assert list(index.id) == list(index.path) == sorted(index.id)
    assert index.size.tolist() == [file.stat().st_size for file in files]
    assert index.mtime.tolist() == [file.stat().st_mtime_ns for file in files]
    numbers = [int(file.stem) for file in files]
    assert index.width.tolist() == index.height.tolist() == [32 + number for number in numbers]
    assert index.label is index.class_name is index.split is None
    assert (index.fingerprint, index.default_space) == ("", "tiny")
    space = index.spaces["tiny"]
    weights = Path(parse(tiny).weights)
    assert space.backbone == tiny
    assert space.weights == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert json.loads(space.preprocessing).items() >= tiny_backbone.SETTINGS.items()
    assert (space.words, space.normalised, space.features.dtype) == ("none", False, np.float16)
    assert space.shard is not None
    assert [run.folder / name for name in space.shard] == run.shards()


def test_a_second_run_embeds_nothing(embedded: Run, config: EmbedConfig) -> None:
    before, shards = embedded.content(), embedded.shards()
    assert embedded.embed(config).embedded == {}
    assert embedded.content() == before
    assert embedded.shards() == shards


def test_without_an_index_the_shards_still_know_everything(
    embedded: Run, config: EmbedConfig
) -> None:
    before = embedded.content()
    embedded.path.unlink()
    assert embedded.embed(config).embedded == {}
    assert embedded.content() == before


def test_touched_images_are_not_embedded_again(embedded: Run, config: EmbedConfig) -> None:
    before = embedded.content()
    for file in embedded.source.rglob("*.png"):
        os.utime(file, ns=(10**18, 10**18))
    assert embedded.embed(config).embedded == {}
    assert embedded.index().mtime.tolist() == [10**18] * N
    assert {p: c for p, c in embedded.content().items() if p} == {
        p: c for p, c in before.items() if p
    }


def test_a_new_image_is_one_more_row_at_the_end(embedded: Run, config: EmbedConfig) -> None:
    before, ids = embedded.features(), list(embedded.index().id)
    paint(embedded.source / "a-first.png", 77)
    assert embedded.embed(config).embedded == {"embedding with tiny": 1}
    assert embedded.stored() == [4, 4, 2, 1]
    assert list(embedded.index().id) == [*ids, "a-first.png"]
    assert_alike({name: embedded.features()[name] for name in ids}, before, atol=0)


def test_a_changed_image_alone_is_embedded_again(
    embedded: Run, config: EmbedConfig, tiny: str
) -> None:
    before = embedded.features()
    changed = "kind1/03.png"
    paint(embedded.source / changed, 78)
    assert embedded.embed(config).embedded == {"embedding with tiny": 1}
    assert embedded.stored() == [4, 4, 2, 1]
    after = embedded.features()
    assert_alike(after, expected_features(embedded, tiny), atol=2e-3, rtol=2e-3)
    assert not np.allclose(after[changed], before[changed], atol=1e-2)
    assert len(embedded.index().id) == N


def test_a_removed_image_drops_out_and_comes_back_for_nothing(
    embedded: Run, config: EmbedConfig
) -> None:
    before = embedded.content()
    file = embedded.source / "kind0/04.png"
    shutil.copy2(file, embedded.folder / "kept.png")
    file.unlink()
    assert embedded.embed(config).embedded == {}
    assert len(embedded.index().id) == N - 1
    assert "kind0/04.png" not in embedded.features()
    shutil.copy2(embedded.folder / "kept.png", file)
    assert embedded.embed(config).embedded == {}
    assert embedded.content() == before


def test_a_renamed_image_is_recognised_by_its_content(embedded: Run, config: EmbedConfig) -> None:
    before = embedded.features()["kind0/04.png"]
    (embedded.source / "kind0/04.png").rename(embedded.source / "new name.png")
    embedded.embed(config)
    assert sum(embedded.stored()) == N
    assert_array_equal(embedded.features()["new name.png"], before)
    assert "kind0/04.png" not in embedded.features()


def test_copies_share_a_row(embedded: Run, config: EmbedConfig) -> None:
    shutil.copy(embedded.source / "kind0/00.png", embedded.source / "copy.png")
    embedded.embed(config)
    assert sum(embedded.stored()) == N
    features = embedded.features()
    assert len(features) == N + 1
    assert_array_equal(features["copy.png"], features["kind0/00.png"])
    assert embedded.embed(config).embedded == {}


def test_copies_within_a_first_run_do_not_depend_on_batches(
    run: Run, config: EmbedConfig, tmp_path: Path
) -> None:
    for name in ("a.png", "kind0/0a.png", "z.png"):
        shutil.copy(run.source / "kind1/05.png", run.source / name)
    for shard_size in (2, 4, 100):
        one = Run(run.source, tmp_path / f"{shard_size}")
        one.embed(replace(config, shard_size=shard_size))
        assert one.embed(replace(config, shard_size=shard_size)).embedded == {}
    contents = [Run(run.source, tmp_path / name).content() for name in ("2", "4", "100")]
    assert contents[0] == contents[1] == contents[2]


def test_a_lost_shard_costs_its_images_only(embedded: Run, config: EmbedConfig) -> None:
    before = embedded.features()
    embedded.shards()[1].unlink()
    embedded.path.unlink()
    assert embedded.embed(config).embedded == {"embedding with tiny": 4}
    assert embedded.stored() == [4, 2, 4]
    assert_alike(embedded.features(), before, atol=2e-3)


def test_labels_follow_their_images(embedded: Run, config: EmbedConfig) -> None:
    paint(embedded.source / "kind0" / "000.png", 79)
    embedded.embed(config, labels_from_folders=True)
    index = embedded.index()
    assert index.label is not None
    assert index.class_name is not None
    named = dict(zip(index.id, index.class_name[index.label], strict=True))
    assert named == {name: name.split("/")[0] for name in index.id}


def test_a_limit_takes_a_part_and_its_end_the_rest(run: Run, config: EmbedConfig) -> None:
    assert run.embed(config, limit=4).embedded == {"embedding with tiny": 4}
    assert len(run.index().id) == 4
    assert run.embed(config).embedded == {"embedding with tiny": N - 4}
    assert len(run.index().id) == N


# ---------------------------------------------------------------- bad images


def test_bad_images_are_skipped_with_a_reason_and_not_tried_again(
    run: Run, config: EmbedConfig
) -> None:
    config = replace(config, max_bad=0.5)
    (run.source / "empty.png").touch()
    (run.source / "text.png").write_text("no picture")
    (run.source / "link.png").symlink_to("nowhere")
    run.embed(config)
    reasons = {
        "empty.png": "empty file",
        "text.png": "not an image, or of an unknown format",
        "link.png": "broken link",
    }
    assert run.skipped() == reasons
    assert len(run.index().id) == N
    shards = run.shards()
    assert run.embed(config).embedded == {}
    assert run.skipped() == reasons
    assert run.shards() == shards


def test_a_repaired_image_is_embedded(run: Run, config: EmbedConfig) -> None:
    (run.source / "a.png").write_text("no picture")
    run.embed(config)
    paint(run.source / "a.png", 80)
    assert run.embed(config).embedded == {"embedding with tiny": 1}
    assert run.skipped() == {}
    assert "a.png" in run.features()


def test_too_many_bad_images_stop_the_run_and_cost_nothing(run: Run, config: EmbedConfig) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (run.source / name).write_text(f"no picture, {name}")
    with pytest.raises(SourceError, match=r"3 of 13 images are unreadable") as raised:
        run.embed(config)
    assert raised.value.exit_code == 3
    assert "a.png: not an image" in str(raised.value)
    assert not run.path.exists()
    assert run.embed(replace(config, max_bad=0.25)).embedded == {}
    assert len(run.index().id) == N


def test_a_source_without_a_usable_image_is_an_error(tmp_path: Path, config: EmbedConfig) -> None:
    run = Run(tmp_path / "photos", tmp_path / "run")
    run.source.mkdir()
    with pytest.raises(SourceError, match="holds no image"):
        run.embed(config)
    (run.source / "a.png").write_text("no picture")
    (run.source / "b.png").symlink_to("nowhere")
    with pytest.raises(SourceError, match=r"none of 2 images is readable; a\.png: not an image"):
        run.embed(replace(config, max_bad=1))


def test_a_file_that_vanishes_meanwhile_is_skipped(run: Run, config: EmbedConfig) -> None:
    source = open_source(SourceConfig(path=str(run.source)))
    (run.source / "kind0/00.png").unlink()
    made = embed(source, config, folder=run.folder)
    assert list(made.skipped_path) == ["kind0/00.png"]
    assert len(made.id) == N - 1


def test_files_that_cannot_be_read_leave_no_empty_shards(run: Run, config: EmbedConfig) -> None:
    source = open_source(SourceConfig(path=str(run.source)))
    (run.source / "kind1/09.png").unlink()
    for _ in range(3):
        embed(source, config, folder=run.folder)
    assert run.stored() == [4, 4, 1]


# ---------------------------------------------------------------- several spaces and settings


def test_two_spaces_stand_side_by_side(
    run: Run, config: EmbedConfig, tiny: str, tmp_path: Path
) -> None:
    other = tiny_backbone.save(tmp_path / "other.pt", seed=1)
    run.embed(config)
    first = run.shards()
    both = replace(config, backbones=(f"tiny={tiny}", f"other={other}"))
    assert run.embed(both).embedded == {"embedding with other": N}
    assert set(first) < set(run.shards())
    assert_alike(run.features("tiny"), expected_features(run, tiny), atol=2e-3, rtol=2e-3)
    assert_alike(run.features("other"), expected_features(run, other), atol=2e-3, rtol=2e-3)
    assert run.index().default_space == "tiny"
    paint(run.source / "new.png", 81)
    assert run.embed(both).embedded == {"embedding with tiny": 1, "embedding with other": 1}


@pytest.mark.parametrize("backbones", [(), ("a=timm:test_vit", "a=timm:test_resnet")])
def test_every_space_needs_a_name_of_its_own(run: Run, backbones: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="each with a name of its own"):
        run.embed(EmbedConfig(backbones=backbones))


def test_what_changes_features_has_shards_of_its_own(config: EmbedConfig, tmp_path: Path) -> None:
    definition = tiny_backbone.save(tmp_path / "tiny.pt")
    (spec,) = (parse(f"tiny={definition}"),)
    folder = store(tmp_path, spec, config).folder
    assert folder.parent == tmp_path / "embeddings"
    harmless = {"batch_size": 7, "workers": 3, "shard_size": 9, "max_bad": 1.0}
    assert store(tmp_path, spec, replace(config, **harmless)).folder == folder
    others = {
        store(tmp_path, spec, replace(config, dtype="float32")).folder,
        store(tmp_path, spec, replace(config, precision="bf16")).folder,
        store(tmp_path, replace(spec, model="test_resnet"), config).folder,
    }
    tiny_backbone.save(tmp_path / "tiny.pt", seed=5)
    others.add(store(tmp_path, spec, config).folder)
    settings = {**tiny_backbone.SETTINGS, "crop_pct": 0.9}
    (tmp_path / "tiny.json").write_text(json.dumps(settings))
    others.add(store(tmp_path, spec, config).folder)
    assert len(others | {folder}) == 6


def test_weights_that_moved_are_the_same_weights(config: EmbedConfig, tmp_path: Path) -> None:
    first = parse(tiny_backbone.save(tmp_path / "a" / "tiny.pt"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    second = parse(f"timm:test_vit@{tmp_path / 'b' / 'tiny.pt'}")
    assert store(tmp_path, first, config) == store(tmp_path, second, config)


def test_features_are_kept_in_full_precision_when_asked_for(
    run: Run, config: EmbedConfig, tiny: str
) -> None:
    run.embed(replace(config, dtype="float32"))
    assert run.index().spaces["tiny"].features.dtype == np.float32
    assert_alike(run.features(), expected_features(run, tiny), atol=1e-5)


def test_features_that_do_not_fit_half_precision_are_refused(
    run: Run, config: EmbedConfig, tmp_path: Path
) -> None:
    import torch

    definition = tiny_backbone.save(tmp_path / "large.pt")
    state = torch.load(tmp_path / "large.pt", weights_only=True)
    (norm,) = (name for name in state if name in ("norm.weight", "fc_norm.weight"))
    state[norm] *= 1e6
    torch.save(state, tmp_path / "large.pt")
    config = replace(config, backbones=(f"tiny={definition}",))
    with pytest.raises(UsageError, match=r"do not fit float16: set embed\.dtype=float32"):
        run.embed(config)
    run.embed(replace(config, dtype="float32"))
    assert np.isfinite(list(run.features().values())).all()


# ---------------------------------------------------------------- interruption


@pytest.mark.parametrize("stop_after", [1, 4, 5, 9])
def test_an_interrupted_run_keeps_its_batches_and_resumes_to_the_same_content(
    run: Run, config: EmbedConfig, tmp_path: Path, stop_after: int
) -> None:
    uninterrupted = Run(run.source, tmp_path / "whole")
    uninterrupted.embed(config)
    with pytest.raises(KeyboardInterrupt):
        run.embed(config, stop_after=stop_after)
    finished = -(-stop_after // config.batch_size) * config.batch_size
    assert sum(run.stored()) == finished
    assert not run.path.exists()
    rest = {"embedding with tiny": N - finished} if finished < N else {}
    assert run.embed(config).embedded == rest
    assert run.content() == uninterrupted.content()


def test_interrupted_again_and_again_every_batch_counts(
    run: Run, config: EmbedConfig, tmp_path: Path
) -> None:
    (run.source / "bad.png").write_text("no picture")
    uninterrupted = Run(run.source, tmp_path / "whole")
    uninterrupted.embed(config)
    for done in (2, 4, 6, 8, 10):
        with pytest.raises(KeyboardInterrupt):
            run.embed(config, stop_after=1)
        seen = store(run.folder, parse(config.backbones[0]), config).ledger().digest_of
        assert len(seen) == done
    run.embed(config)
    assert run.content() == uninterrupted.content()


def test_a_long_wait_is_a_reason_to_write_a_shard(run: Run, config: EmbedConfig) -> None:
    run.embed(replace(config, shard_size=1000), shard_seconds=0)
    assert run.stored() == [2] * 5


# ---------------------------------------------------------------- augmented views


def views_of(run: Run) -> NDArray[Any]:
    rows = run.index().spaces["tiny"].views
    assert rows is not None
    return whole(rows)


def test_views_stand_beside_features_that_stay_as_they_were(
    embedded: Run, config: EmbedConfig
) -> None:
    before, shards = embedded.content(), embedded.shards()
    assert embedded.embed(replace(config, views=3)).embedded == {"embedding with tiny, 3 views": N}
    after = embedded.content()
    assert {place: after[place] for place in before if place} == {
        place: before[place] for place in before if place
    }
    added = [path for path in embedded.shards() if path not in shards]
    assert [artifact.read(path, ViewShard).features.shape for path in added] == [
        (4, 3, 64),
        (4, 3, 64),
        (2, 3, 64),
    ]
    assert embedded.embed(replace(config, views=3)).embedded == {}
    assert embedded.embed(config).embedded == {}
    assert embedded.content() == before


def test_views_are_those_of_each_image_through_the_backbone(
    run: Run, config: EmbedConfig, tiny: str
) -> None:
    run.embed(replace(config, views=3))
    backbone = open_backbone(parse(tiny), device="cpu")
    for row, (path, name) in enumerate(zip(run.index().path, run.index().digest, strict=True)):
        with Image.open(run.source / path) as image:
            made = [backbone.prepare(view(image.convert("RGB"), name, v)) for v in range(3)]
        expected = backbone.encode_images(np.stack(made))
        assert_allclose(views_of(run)[row], expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("stop_after", [N + 1, N + 5])
def test_interrupted_views_resume_to_the_same_content(
    run: Run, config: EmbedConfig, tmp_path: Path, stop_after: int
) -> None:
    config = replace(config, views=2, batch_size=4)
    uninterrupted = Run(run.source, tmp_path / "whole")
    uninterrupted.embed(config)
    with pytest.raises(KeyboardInterrupt):
        run.embed(config, stop_after=stop_after)
    left = N - 2 * -(-(stop_after - N) // 2)
    assert run.embed(config).embedded == {"embedding with tiny, 2 views": left}
    assert run.content() == uninterrupted.content()
    assert_array_equal(views_of(run), views_of(uninterrupted))


def test_views_do_not_depend_on_names_order_or_company(run: Run, config: EmbedConfig) -> None:
    config = replace(config, views=2)
    run.embed(config)
    before = dict(zip(run.index().digest, views_of(run), strict=True))
    (run.source / "kind0/00.png").rename(run.source / "zzz.png")
    shutil.rmtree(run.folder)
    run.embed(replace(config, batch_size=7, shard_size=3))
    assert_alike(dict(zip(run.index().digest, views_of(run), strict=True)), before, atol=2e-3)


def test_a_lost_shard_of_views_is_named_and_made_again(embedded: Run, config: EmbedConfig) -> None:
    config = replace(config, views=2)
    embedded.embed(config)
    before = embedded.content()
    lost = next(path for path in embedded.shards() if "2-views" in str(path))
    lost.unlink()
    with pytest.raises(DamagedArtifact, match=lost.name):
        views_of(embedded)
    embedded.path.unlink()
    assert embedded.embed(config).embedded == {"embedding with tiny, 2 views": 4}
    assert len(embedded.content()) == len(before)


def test_views_need_images_and_a_count(run: Run, config: EmbedConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"embed\.views must be at least 0"):
        run.embed(replace(config, views=-1))
    np.savez(tmp_path / "features.npz", features=np.ones((5, 3), np.float32))
    with pytest.raises(UsageError, match=r"embed\.views needs images"):
        Run(tmp_path / "features.npz", tmp_path / "run").embed(replace(config, views=2))


# ---------------------------------------------------------------- features given by the user


@pytest.fixture
def given(tmp_path: Path) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((20, 6)).astype(np.float32)
    unit = rng.standard_normal((20, 4))
    return {
        "features_clip": raw,
        "features_dino": (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float16),
        "labels": np.arange(20) % 3,
        "class_names": np.array(["ant", "bee", "cat"]),
        "split": np.array(["train"] * 12 + ["test"] * 8),
        "ids": np.array([f"image {row}" for row in range(20)]),
    }


def test_given_features_pass_through_as_they_are(
    tmp_path: Path, given: dict[str, NDArray[Any]], config: EmbedConfig
) -> None:
    np.savez(tmp_path / "features.npz", **given)
    run = Run(tmp_path / "features.npz", tmp_path / "run")
    assert run.embed(config).embedded == {}
    index = run.index()
    assert list(index.spaces) == ["clip", "dino"]
    for name, space in index.spaces.items():
        assert space.features.dtype == given[f"features_{name}"].dtype
        assert_array_equal(whole(space.features), given[f"features_{name}"])
        assert (space.backbone, space.words, space.shard) == ("", "none", None)
    assert [space.normalised for space in index.spaces.values()] == [False, True]
    assert list(index.id) == list(given["ids"])
    assert_array_equal(index.label, given["labels"])
    assert_array_equal(index.class_name, given["class_names"])
    assert_array_equal(index.split, given["split"])
    assert list(index.digest) == list(row_digests(given["features_clip"]))
    assert index.default_space == "clip"
    assert index.fingerprint
    assert run.skipped() == {}
    assert not run.shards()


@pytest.mark.parametrize("scale", [1e20, 1e-25])
def test_given_features_of_any_scale_pass_without_a_warning(
    tmp_path: Path, given: dict[str, NDArray[Any]], config: EmbedConfig, scale: float
) -> None:
    features = given["features_clip"] * np.float32(scale)
    np.savez(tmp_path / "features.npz", features=features)
    run = Run(tmp_path / "features.npz", tmp_path / "run")
    run.embed(config)
    (space,) = run.index().spaces.values()
    assert_array_equal(whole(space.features), features)
    assert not space.normalised


def test_given_features_and_embedded_ones_have_content_ids_of_their_data(
    tmp_path: Path, given: dict[str, NDArray[Any]], config: EmbedConfig
) -> None:
    np.savez(tmp_path / "features.npz", **given)
    np.savez(tmp_path / "relabelled.npz", **{**given, "labels": (np.arange(20) + 1) % 3})
    ids = []
    for name in ("features", "relabelled"):
        run = Run(tmp_path / f"{name}.npz", tmp_path / name)
        run.embed(config)
        places = ("clip/features", "dino/features", "label")
        ids.append([artifact.content_id(run.path, Embeddings, place) for place in places])
    assert ids[0][:2] == ids[1][:2]
    assert ids[0][2] != ids[1][2]


def test_given_features_with_nan_are_refused(tmp_path: Path, config: EmbedConfig) -> None:
    matrix = np.ones((5, 3), np.float32)
    matrix[3, 1] = np.nan
    np.savez(tmp_path / "features.npz", features=matrix)
    run = Run(tmp_path / "features.npz", tmp_path / "run")
    with pytest.raises(UsageError, match="row 3"):
        run.embed(config)
    assert not run.path.exists()


def test_images_in_an_array_are_embedded_like_files(
    tmp_path: Path, config: EmbedConfig, tiny: str
) -> None:
    pixels = np.stack([np.asarray(draw(number % 4, number, size=32)) for number in range(6)])
    np.savez(tmp_path / "images.npz", images=pixels)
    run = Run(tmp_path / "images.npz", tmp_path / "run")
    assert run.embed(config).embedded == {"embedding with tiny": 6}
    assert_alike(run.features(), expected_features(run, tiny), atol=2e-3, rtol=2e-3)
    assert run.embed(config).embedded == {}


# ---------------------------------------------------------------- in a notebook


def test_the_result_is_usable_before_it_is_written(run: Run, config: EmbedConfig) -> None:
    made = embed(
        open_source(SourceConfig(path=str(run.source))), config, folder=run.folder, progress=silent
    )
    rows = made.spaces["tiny"].features
    assert isinstance(rows, VirtualRows)
    assert whole(rows).shape == (N, 64)
    run.embed(config)
    assert_array_equal(whole(rows), whole(run.index().spaces["tiny"].features))


def test_exif_is_kept_once_asked_for_and_nothing_is_embedded_again(
    run: Run, config: EmbedConfig
) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2021:06:03 12:30:01"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0), 3: "E", 4: (2.0, 0.0, 0.0)})
    draw(1, 99).save(run.source / "dated.jpg", exif=exif)
    run.embed(replace(config, exif="none"))
    assert run.index().taken is None
    features = run.content()

    def dated() -> tuple[Any, ...]:
        index = run.index()
        row = index.id.tolist().index("dated.jpg")
        assert index.taken is not None
        assert np.count_nonzero(index.taken) == 1
        where = None if index.latitude is None else index.latitude[row]
        return index.taken[row], where

    assert run.embed(config).embedded == {}
    assert dated() == ("2021-06-03T12:30:01", None)
    assert run.embed(replace(config, exif="all")).embedded == {}
    assert dated() == ("2021-06-03T12:30:01", 48.5)
    run.embed(config)
    assert dated() == ("2021-06-03T12:30:01", None)
    assert run.content() == features
    for shard in run.folder.glob("embeddings/*"):
        shutil.rmtree(shard)
    run.path.unlink()
    run.embed(replace(config, exif="all"))
    assert dated() == ("2021-06-03T12:30:01", 48.5)
