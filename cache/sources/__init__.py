"""Sources of images: a folder, a table, arrays, given features, or the demonstration."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from clusterpipe.cache import limits
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.sources import demonstration
from clusterpipe.cache.sources.appended import with_appended
from clusterpipe.cache.sources.demonstration import DemonstrationImages
from clusterpipe.cache.sources.files import file_path, stored_path
from clusterpipe.cache.sources.manifest import Manifest
from clusterpipe.cache.sources.opening import SUFFIXES, Opening, open_one, open_several
from clusterpipe.cache.sources.pictured import PicturedFeatures
from clusterpipe.cache.sources.places import parted
from clusterpipe.cache.sources.protocols import FeatureSource, ImageSource
from clusterpipe.cache.sources.several import common_folder, is_pattern
from clusterpipe.cache.sources.subset import FeatureSubset, ImageSubset, evenly_spread
from clusterpipe.cache.sources.table import open_table

__all__ = [
    "FeatureSource",
    "ImageSource",
    "Manifest",
    "Source",
    "SourceConfig",
    "file_path",
    "folder_of",
    "open_source",
    "stored_path",
]

Source: TypeAlias = ImageSource | FeatureSource


def _option(default: Any, help: str, *, affects_result: bool) -> Any:
    """A config field as the stages declare theirs."""
    metadata = {"help": help, "affects_result": affects_result, "choices": ()}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class SourceConfig:
    """Images of a run; what they show decides what is stale, not where they lie."""

    path: str = _option(
        demonstration.NAME,
        "Images: a folder, a list of paths (.csv, .tsv, .txt, .json), a file of arrays or features "
        "(.npz, .npy, .h5, .safetensors), or `demonstration`.",
        affects_result=False,
    )
    also: tuple[str, ...] = _option(
        (),
        "More images: folders, files, archives and patterns, beside the one that `path` names.",
        affects_result=False,
    )
    labels_from_folders: bool = _option(
        False,
        "Take the first folders (below train, val, test the second) as ground-truth classes; only "
        "`evaluate` sees them.",
        affects_result=False,
    )
    follow_links: bool = _option(
        False,
        "Follow links to folders outside of the source as well.",
        affects_result=False,
    )
    appended: str = _option(
        "",
        "Table of the images that predict --append added, which come last. Each run finds its own.",
        affects_result=False,
    )
    limit: int = _option(
        0,
        "Use only this many images, spread evenly over the source. 0 = all.",
        affects_result=True,
    )
    max_pixels: int = _option(
        limits.PIXELS,
        "Skip images of more pixels than this, and files of more than 8 bytes for each. Raise it "
        "for large scans; memory is up to 10 bytes per pixel.",
        affects_result=False,
    )
    max_seconds: float = _option(
        limits.SECONDS,
        "Skip an image that sends no bytes for this many seconds, or takes as many to decode.",
        affects_result=False,
    )


def open_source(config: SourceConfig = SourceConfig(), *, progress: Progress = silent) -> Source:
    """Opens the images or features that `config.path` names; nothing is decoded yet.

    A file of arrays is judged by what it holds: `features` or `features_<name>` make it a feature
    source, even beside `images`; `images` make it an image source; the one array of a `.npy` file
    holds features if it has two dimensions, and images if it has three or four. A folder that is
    called "demonstration" can be reached as "./demonstration".

    Raises `UsageError` for a path that does not exist, for what is none of the kinds above, and
    for a negative limit.
    """
    if config.limit < 0:
        raise UsageError(f"limit is {config.limit}; it counts images, and 0 means all")
    source = _limited(_open(config, progress), config.limit)
    if not config.appended:
        return source
    return with_appended(source, open_table(Path(config.appended), progress=progress).manifest)


def _limited(source: Source, limit: int) -> Source:
    n = len(source.manifest)
    if limit in (0, n) or limit > n:
        return source
    index = evenly_spread(n, limit)
    if isinstance(source, PicturedFeatures):
        features = FeatureSubset(source.features, index)
        return PicturedFeatures(features, ImageSubset(source.pictures, index))
    if isinstance(source, FeatureSource):
        return FeatureSubset(source, index)
    return ImageSubset(source, index)


def folder_of(config: SourceConfig) -> Path:
    """The folder that the stored paths of a source's files are relative to, even if it is gone."""
    if config.also or is_pattern(config.path):
        return common_folder([config.path, *config.also])
    path = Path(parted(config.path)[0]).expanduser().absolute()
    return path.parent if path.suffix.lower() in SUFFIXES and not path.is_dir() else path


def _open(config: SourceConfig, progress: Progress) -> Source:
    if config.path == demonstration.NAME and not config.also:
        return DemonstrationImages()
    opening = Opening(
        labels_from_folders=config.labels_from_folders,
        follow_links=config.follow_links,
        limits=_limits(config),
        progress=progress,
    )
    if config.also or is_pattern(config.path):
        return open_several([config.path, *config.also], opening)
    return open_one(config.path, opening)


def _limits(config: SourceConfig) -> limits.Limits:
    if config.max_pixels < 1 or not config.max_seconds > 0:
        raise UsageError("source.max_pixels and source.max_seconds must be above 0")
    return limits.Limits(config.max_pixels, config.max_seconds)
