"""embed: every image once through the frozen backbones, into a feature cache that resumes."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache import artifact, inventory
from clusterpipe.cache.errors import SourceError, UnreadableImage, UsageError
from clusterpipe.cache.exif import NOTHING, Exif, read_exif
from clusterpipe.cache.images import DECODER
from clusterpipe.cache.inventory import Survey
from clusterpipe.cache.limits import may_succeed
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.provenance import Identity, Provenance, canonical, digest, file_digest
from clusterpipe.cache.rows import Rows, blocks
from clusterpipe.cache.schema import Embeddings, Shard, Space, ViewShard
from clusterpipe.cache.shards import Ledger, ShardStore, row_digests
from clusterpipe.cache.sources import FeatureSource, ImageSource, Manifest, Source
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.stages.backbones import (
    BackboneSpec,
    authors_pool,
    local_settings,
    local_weights,
    parse,
)
from clusterpipe.stages.backbones.augmentation import AUGMENTATION
from clusterpipe.stages.backbones.presets import expanded
from clusterpipe.stages.declaration import (
    STAGES,
    Compute,
    FileInput,
    FolderInput,
    Outside,
    PreviousInput,
    Read,
    SourceInput,
    check,
    option,
    stage,
)

if TYPE_CHECKING:
    from clusterpipe.stages.backbones import Backbone
    from clusterpipe.stages.backbones.extraction import Extract, Loaded

SHARD_SECONDS = 60.0  # after which a shard is written, full or not


@dataclass(frozen=True)
class EmbedConfig:
    """Settings of the embed stage."""

    table: ClassVar[str] = "embed"

    backbones: tuple[str, ...] = option(
        ("packaged=packaged:efficientnet-lite0",),
        "Frozen encoders, as name=family:model@weights, one space each; or fast, balanced, best. "
        "The packaged one is supervised on ImageNet.",
    )
    dtype: str = option(
        "float16",
        "Number format of stored features.",
        choices=("float16", "float32"),
    )
    precision: str = option(
        "auto",
        "Arithmetic of the backbone. auto = fp32 on a CPU, half precision on a GPU.",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    views: int = option(
        0,
        "Augmented views to embed of each image, for heads that learn from views. 0 = none, 4"
        " is plenty; each costs as much as the image.",
        least=0,
    )
    batch_size: int = option(0, "Images per batch. 0 = by device.", affects_result=False, least=0)
    workers: int = option(
        0, "Threads that read and decode. 0 = one per core.", affects_result=False, least=0
    )
    shard_size: int = option(
        1024, "Images per shard, the most that a kill can cost.", affects_result=False, least=1
    )
    exif: str = option(
        "time",
        "EXIF to keep: time = when it was taken, and the camera; all = the place as well.",
        choices=("none", "time", "all"),
        absent="time",
    )
    max_bad: float = option(
        0.1,
        "Largest share of unreadable images; above it the run stops with exit code 3.",
        affects_result=False,
        least=0,
        most=1,
    )
    rehash: bool = option(
        False,
        "Read every file once to see whether it changed, whatever its times say.",
        affects_result=False,
        once=True,
    )
    retry_skipped: bool = option(
        False,
        "Try again every image that was skipped, whatever the reason.",
        affects_result=False,
        once=True,
    )

    def __post_init__(self) -> None:
        given = (self.backbones,) if isinstance(self.backbones, str) else self.backbones
        object.__setattr__(self, "backbones", expanded(given))


def _reads(config: EmbedConfig) -> dict[str, Read]:
    """The source, and the local files of the backbones."""
    files = {
        what: FileInput(str(path), known_as=what)
        for spec in backbone_specs(config)
        for what, path in _local_paths(spec).items()
    }
    own: dict[str, Read] = {
        "source": SourceInput(),
        "folder": FolderInput(""),
        "previous": PreviousInput(),
    }
    return {**own, **files}


def _survey(source: Source, index: Embeddings, config: EmbedConfig, known: str) -> Survey:
    return inventory.survey(
        source, index, rehash=config.rehash, retry=config.retry_skipped, known=known
    )


def _unfinished(source: Source, folder: Path, config: EmbedConfig) -> tuple[str, ...]:
    """Number of images that are embedded, of each target that has any."""
    if isinstance(source, FeatureSource):
        return ()
    total = len(source.manifest.id)
    wanted = targets(folder, config)
    done = {target: len(target.shards.ledger().digest_of) for target in wanted}
    return tuple(
        f"{target}: {min(count, total):,} of {total:,} images embedded"
        for target, count in done.items()
        if count
    )


@stage(
    version=2,
    config=EmbedConfig,
    reads=_reads,
    writes=Embeddings,
    outside=Outside(_survey, inventory.index_identity, _unfinished),
)
def embed(
    source: Source,
    config: EmbedConfig = EmbedConfig(),
    *,
    folder: Path,
    previous: Embeddings | None = None,
    compute: Compute = Compute(),
    shard_seconds: float = SHARD_SECONDS,
    progress: Progress = silent,
) -> Embeddings:
    """Turn images into features, each image once: only what is new or changed is computed.

    Features given by the user pass through as they are. Shards go to `folder`/embeddings, those
    of augmented views apart from the others, and what is returned must be written to `folder`.
    `previous` is the index of an earlier run of the same folder, which spares hashing files whose
    size and time have not changed. A shard is written when it is full, or after `shard_seconds`.

    Raises SourceError when no image is usable or more than `max_bad` of them are not,
    WeightsMissing when weights are not on disk, UsageError for a wrong backbone or views of
    features that were given, StorageError when the disk
    is full. Whatever ends it, finished batches are kept.
    """
    config = check(config)
    if isinstance(source, FeatureSource):
        if config.views:
            raise UsageError("embed.views needs images to augment, and these features were given")
        return _given(source)
    wanted = targets(folder, config)
    ledgers = {target: target.shards.ledger() for target in wanted}
    limits = inventory.limits_of(source)
    for ledger in ledgers.values():
        ledger.forget(lambda why: config.retry_skipped or may_succeed(why, limits))
    found = _Findings(_known(source, ledgers.values(), previous, config.rehash, progress))
    for target in wanted:
        if _todo(ledgers[target], found):
            ledgers[target] = _complete(
                source, target, config, compute, shard_seconds, found, progress
            )
    index = _index(source.manifest, ledgers, found)
    if config.exif != "none":
        index = _with_exif(index, source, previous, found, config.exif == "all", progress)
    _refuse_too_many_bad(index, config.max_bad)
    return index


def backbone_specs(config: EmbedConfig) -> list[BackboneSpec]:
    """The configured backbones. Raises UsageError when there is none or two share a name."""
    specs = [parse(text) for text in config.backbones]
    if not specs or len({spec.name for spec in specs}) < len(specs):
        raise UsageError("embed.backbones needs at least one space, each with a name of its own")
    return specs


@dataclass(frozen=True)
class Target:
    """Target of an embedding: each image as it is, or `views` augmented views; and where to."""

    spec: BackboneSpec
    views: int
    shards: ShardStore

    def __str__(self) -> str:
        return self.spec.name + (f", {self.views} views" if self.views else "")


def targets(folder: Path, config: EmbedConfig) -> list[Target]:
    """All that is to be embedded, the images of every space first. Raises UsageError."""
    specs = backbone_specs(config)
    counts = [0, config.views] if config.views else [0]
    return [
        Target(spec, views, store(folder, spec, config, views=views))
        for views in counts
        for spec in specs
    ]


def store(folder: Path, spec: BackboneSpec, config: EmbedConfig, *, views: int = 0) -> ShardStore:
    """The shards of one space: one folder per backbone and settings that change its features.

    With `views`, of so many augmented views, in a folder apart.
    """
    files = local_files(spec)
    identity: dict[str, Any] = {
        "backbone": [spec.family, spec.model, "" if files else spec.weights],
        "files": list(files.values()),
        "dtype": config.dtype,
        "precision": config.precision,
        "decoder": dict(DECODER),
    }
    options = {"size": spec.size, "pool": spec.pool or authors_pool(spec)}
    identity |= {name: value for name, value in options.items() if value}
    if views:
        identity |= {"views": views, "augmentation": dict(AUGMENTATION)}
    key = digest(canonical(identity).encode())[:12]
    name = f"{spec.name}-{views}-views" if views else spec.name
    return ShardStore(folder / "embeddings" / f"{name}-{key}", ViewShard if views else Shard)


def local_files(spec: BackboneSpec) -> dict[str, str]:
    """blake2b of the local files a backbone is made from: its weights, and settings beside them."""
    return {what: file_digest(path) for what, path in _local_paths(spec).items()}


def _local_paths(spec: BackboneSpec) -> dict[str, Path]:
    files = {"weights": local_weights(spec), "settings": local_settings(spec)}
    return {f"{what} of {spec.name}": path for what, path in files.items() if path}


# ---------------------------------------------------------------- computing what is missing


@dataclass
class _Findings:
    """Of each row of the source its digest, empty if it was not read; why it could not be; and by
    digest the EXIF of those that were decoded."""

    digest: list[str]
    unreadable: dict[int, str] = field(default_factory=dict)
    exif: dict[str, Exif] = field(default_factory=dict)

    def add(self, loaded: "Loaded") -> None:
        self.digest[loaded.row] = loaded.digest
        if not loaded.digest:
            self.unreadable[loaded.row] = loaded.reason
        if loaded.pixels is not None:
            self.exif[loaded.digest] = loaded.exif


def _known(
    source: ImageSource,
    ledgers: Iterable[Ledger],
    previous: Embeddings | None,
    rehash: bool,
    progress: Progress,
) -> list[str]:
    """Digest of each row as far as earlier work tells; empty for rows not seen before."""
    recorded = inventory.recorded_digests(previous) if previous else {}
    for ledger in ledgers:
        recorded.update(ledger.digest_of)
    found = inventory.known_digests(source, recorded, rehash=rehash, progress=progress)
    return [d or "" for d in found]


def _todo(ledger: Ledger, found: _Findings) -> list[int]:
    return [row for row, image in enumerate(found.digest) if not ledger.knows(image)]


def _complete(
    source: ImageSource,
    target: Target,
    config: EmbedConfig,
    compute: Compute,
    shard_seconds: float,
    found: _Findings,
    progress: Progress,
) -> Ledger:
    """Embeds the rows that the target lacks and enters in `found` what it reads."""
    from clusterpipe.stages.backbones import open_backbone
    from clusterpipe.stages.backbones.extraction import extract

    backbone = open_backbone(
        target.spec,
        device=compute.device,
        precision=config.precision,
        download=compute.download,
    )
    ledger = target.shards.ledger(weights=backbone.weights_digest)
    todo = _todo(ledger, found)
    pending = _Pending(source.manifest, target, config, backbone, ledger, shard_seconds)
    batches = extract(
        source,
        todo,
        backbone,
        known=ledger.knows,
        views=target.views,
        batch_size=config.batch_size,
        workers=config.workers,
        deterministic=compute.deterministic,
        place=config.exif == "all",
    )
    with progress(f"embedding with {target}", total=len(todo), unit="images") as advance:
        try:
            for batch in batches:
                pending.add(batch)
                for loaded in batch.looked_at:
                    found.add(loaded)
                advance(len(batch.looked_at))
        finally:
            pending.flush()
    return ledger


def preprocessing_of(backbone: "Backbone") -> dict[str, Any]:
    """All that is done to a file before the backbone sees it."""
    return {**backbone.preprocessing, "decoder": dict(DECODER)}


class _Pending:
    """Batches that are computed and not yet on disk."""

    def __init__(
        self,
        manifest: Manifest,
        target: Target,
        config: EmbedConfig,
        backbone: "Backbone",
        ledger: Ledger,
        seconds: float,
    ) -> None:
        self.files = inventory.seen(manifest)
        self.target, self.config, self.backbone = target, config, backbone
        self.ledger, self.seconds = ledger, seconds
        self.batches: list[Extract] = []
        self.began = time.monotonic()

    def add(self, batch: "Extract") -> None:
        """Keeps a batch; writes a shard when enough has gathered or enough time has passed."""
        self.batches.append(batch)
        gathered = sum(len(kept.looked_at) for kept in self.batches)
        if gathered >= self.config.shard_size or time.monotonic() - self.began > self.seconds:
            self.flush()

    def flush(self) -> None:
        """Writes what has gathered as one shard and enters it into the ledger."""
        batches, self.batches = self.batches, []
        seconds, self.began = time.monotonic() - self.began, time.monotonic()
        if any(loaded.digest for batch in batches for loaded in batch.looked_at):
            shard = self._shard(batches)
            self.ledger.add(self.target.shards.append(shard, self._provenance(seconds)), shard)

    def _shard(self, batches: list["Extract"]) -> Shard:
        looked_at = [loaded for batch in batches for loaded in batch.looked_at if loaded.digest]
        encoded = [loaded for batch in batches for loaded in batch.encoded]
        bad = {loaded.digest: loaded.reason for loaded in looked_at if loaded.reason}
        seen = [self.files[loaded.row] for loaded in looked_at]
        features = self._stored(np.concatenate([batch.features for batch in batches]))
        return self.target.shards.kind(
            features=features,
            image=strings(loaded.digest for loaded in encoded),
            row=row_digests(features),
            width=np.array([loaded.width for loaded in encoded], np.int32),
            height=np.array([loaded.height for loaded in encoded], np.int32),
            bad=strings(bad),
            bad_reason=strings(bad.values()),
            seen_id=strings(file.id for file in seen),
            seen_size=np.array([file.size for file in seen], np.int64),
            seen_mtime=np.array([file.mtime for file in seen], np.int64),
            seen_stamp=np.array([file.stamp for file in seen], np.int64),
            seen_digest=strings(loaded.digest for loaded in looked_at),
            backbone=self.target.spec.definition,
            weights=self.backbone.weights_digest,
            preprocessing=canonical(self._preprocessing()),
            words=self.backbone.words,
        )

    def _preprocessing(self) -> dict[str, Any]:
        augmentation = {"augmentation": dict(AUGMENTATION)} if self.target.views else {}
        return {**preprocessing_of(self.backbone), **augmentation}

    def _stored(self, features: NDArray[np.float32]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            stored = features.astype(self.config.dtype)
        if not np.isfinite(stored).all():
            raise UsageError(
                f"features of {self.target.spec.name} do not fit {self.config.dtype}: set "
                "embed.dtype=float32 or embed.precision=fp32"
            )
        return stored

    def _provenance(self, seconds: float) -> Provenance:
        identity = Identity(
            stage="embed",
            stage_version=STAGES["embed"].version,
            schema=self.target.shards.kind.schema,
            seed=0,
            config={"dtype": self.config.dtype, "precision": self.config.precision},
            inputs={},
        )
        how = {"batch_size": self.config.batch_size, "workers": self.config.workers}
        return Provenance(identity=identity, how=how, seconds=seconds, device=self.backbone.device)


# ---------------------------------------------------------------- the index


def _index(manifest: Manifest, ledgers: Mapping[Target, Ledger], found: _Findings) -> Embeddings:
    """The index over the shards: rows in the order they were first embedded, so new ones append."""
    first = next(iter(ledgers.values()))
    usable = [
        row
        for row, image in enumerate(found.digest)
        if all(image in ledger.place for ledger in ledgers.values())
    ]
    usable.sort(key=lambda row: first.place[found.digest[row]])
    bad = sorted(set(range(len(found.digest))) - set(usable))
    if not usable:
        raise SourceError(_no_usable_image(manifest, ledgers, found))
    images = [found.digest[row] for row in usable]
    places = [first.place[image] for image in images]
    files = manifest.take(np.array(usable))
    return Embeddings(
        **_skipped(manifest, bad, ledgers, found),
        **{name: getattr(files, name) for name in ("id", "path", "size", "mtime", "stamp")},
        **{name: getattr(files, name) for name in inventory.COLUMNS},
        digest=strings(images),
        width=np.array([place.width for place in places], np.int32),
        height=np.array([place.height for place in places], np.int32),
        spaces={t.spec.name: _space(t.spec, ledgers, images) for t in ledgers if not t.views},
        default_space=next(iter(ledgers)).spec.name,
    )


def _space(spec: BackboneSpec, ledgers: Mapping[Target, Ledger], images: list[str]) -> Space:
    mine = [target.shards for target in ledgers if target.spec == spec]
    found = [ledger for target, ledger in ledgers.items() if target.spec == spec]
    features, *views = (s.rows(images, ledger) for s, ledger in zip(mine, found, strict=True))
    ids = {p: i for rows in (features, *views) for p, i in mine[0].content_ids(rows).items()}
    folder = mine[0].folder.parent.parent
    made = artifact.read(features.runs[0][0], Shard)
    return Space(
        features=features,
        views=views[0] if views else None,
        backbone=made.backbone,
        weights=made.weights,
        preprocessing=made.preprocessing,
        words=made.words,
        shard=strings(path.relative_to(folder).as_posix() for path in ids),
        shard_id=strings(ids.values()),
    )


def _skipped(
    manifest: Manifest, bad: list[int], ledgers: Mapping[Target, Ledger], found: _Findings
) -> dict[str, Any]:
    """The columns of /skipped: images that could not be decoded, what the scan refused, and files
    that are no images."""
    reasons = {d: why for ledger in ledgers.values() for d, why in ledger.bad.items()}
    m, y = len(manifest.skipped_path), len(manifest.other_path)
    unread = [found.unreadable.get(row) or reasons[found.digest[row]] for row in bad]
    stamp = np.zeros(len(manifest), np.int64) if manifest.stamp is None else manifest.stamp
    none = np.zeros(m + y, np.int64)
    return {
        "skipped_path": strings([*manifest.id[bad], *manifest.skipped_path, *manifest.other_path]),
        "skipped_reason": strings([*unread, *manifest.skipped_reason, *manifest.other_reason]),
        "skipped_size": np.concatenate([manifest.size[bad], none]),
        "skipped_mtime": np.concatenate([manifest.mtime[bad], none]),
        "skipped_stamp": np.concatenate([stamp[bad], none]),
        "skipped_digest": strings([*(found.digest[row] for row in bad), *[""] * (m + y)]),
        "skipped_image": np.repeat(np.array([1, 0], np.int64), [len(bad) + m, y]),
    }


def _with_exif(
    index: Embeddings,
    source: ImageSource,
    previous: Embeddings | None,
    found: _Findings,
    place: bool,
    progress: Progress,
) -> Embeddings:
    """The index with EXIF; files embedded earlier, of which no index tells it, are read again."""
    known = {**_recorded_exif(previous, place), **found.exif}
    row_of = {image: row for row, image in enumerate(found.digest)}
    unknown = [row_of[image] for image in set(index.digest.tolist()) - set(known)]
    with progress("reading EXIF", total=len(unknown), unit="images") as advance:
        for row in sorted(unknown):
            known[found.digest[row]] = _exif(source, row, place)
            advance(1)
    exif = [known[image] for image in index.digest]
    where: dict[str, Any] = {
        "latitude": np.array([one.latitude for one in exif]),
        "longitude": np.array([one.longitude for one in exif]),
    }
    return replace(
        index,
        taken=strings(one.taken for one in exif),
        camera=strings(one.camera for one in exif),
        **where if place else {},
    )


def _recorded_exif(previous: Embeddings | None, place: bool) -> dict[str, Exif]:
    """EXIF by digest, as far as an earlier index tells all that is wanted."""
    if previous is None or previous.taken is None or previous.camera is None:
        return {}
    nowhere = np.full(len(previous.id), np.nan)
    latitude, longitude = previous.latitude, previous.longitude
    if latitude is None or longitude is None:
        if place:
            return {}
        latitude = longitude = nowhere
    columns = (previous.taken, previous.camera, latitude, longitude)
    each = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(previous.digest.tolist(), (Exif(*one) for one in each), strict=True))


def _exif(source: ImageSource, row: int, place: bool) -> Exif:
    try:
        return read_exif(source.read(row), place=place)
    except (OSError, UnreadableImage, MemoryError):
        return NOTHING


def _refuse_too_many_bad(index: Embeddings, max_bad: float) -> None:
    bad = int(inventory.images(index).sum())
    total = bad + len(index.id)
    if bad > max_bad * total:
        raise SourceError(
            f"{bad} of {total} images are unreadable, more than --max-bad {max_bad:g} allows; "
            f"the first is {index.skipped_path[0]}: {index.skipped_reason[0]}. What was embedded "
            "is kept: repair the files, or run again with a higher --max-bad"
        )


def _no_usable_image(manifest: Manifest, ledgers: Mapping[Target, Ledger], found: _Findings) -> str:
    skipped = _skipped(manifest, list(range(len(found.digest))), ledgers, found)
    if not skipped["skipped_image"].sum():
        return "; ".join(["the source holds no image", *manifest.remarks])
    first, why = skipped["skipped_path"][0], skipped["skipped_reason"][0]
    return f"none of {skipped['skipped_image'].sum()} images is readable; {first}: {why}"


# ---------------------------------------------------------------- features given by the user


def _given(source: FeatureSource) -> Embeddings:
    manifest = source.manifest
    if not len(manifest.id):
        raise SourceError("the source holds no row of features")
    nothing = np.zeros(0, np.int64)
    return Embeddings(
        **{name: getattr(manifest, name) for name in ("id", "path", "size", "mtime")},
        **{name: getattr(manifest, name) for name in inventory.COLUMNS},
        digest=np.concatenate([row_digests(part) for part in blocks(_first(source))]),
        width=np.zeros(len(manifest.id), np.int32),
        height=np.zeros(len(manifest.id), np.int32),
        skipped_path=manifest.skipped_path,
        skipped_reason=manifest.skipped_reason,
        skipped_size=nothing,
        skipped_mtime=nothing,
        skipped_digest=strings([]),
        fingerprint=source.fingerprint(),
        default_space=next(iter(source.spaces)),
        spaces={
            name: Space(features=rows, normalised=_has_unit_rows(rows))
            for name, rows in source.spaces.items()
        },
    )


def _first(source: FeatureSource) -> Rows:
    return next(iter(source.spaces.values()))


def _has_unit_rows(rows: Rows) -> bool:
    with np.errstate(over="ignore", under="ignore"):  # a length beyond float32 is none of 1
        return all(
            np.allclose(np.linalg.norm(part.astype(np.float32), axis=1), 1, atol=2e-3)
            for part in blocks(rows)
        )
