"""Sources of images: a folder, a table, arrays, given features, or the demonstration."""

import stat
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from clusterpipe.cache import limits
from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.sources import containers, demonstration
from clusterpipe.cache.sources.appended import with_appended
from clusterpipe.cache.sources.arrays import open_images
from clusterpipe.cache.sources.containers import describe, open_arrays
from clusterpipe.cache.sources.demonstration import DemonstrationImages
from clusterpipe.cache.sources.features import holds_features, open_features
from clusterpipe.cache.sources.files import file_path, stored_path
from clusterpipe.cache.sources.folder import open_folder
from clusterpipe.cache.sources.manifest import Manifest
from clusterpipe.cache.sources.protocols import FeatureSource, ImageSource
from clusterpipe.cache.sources.subset import FeatureSubset, ImageSubset, evenly_spread
from clusterpipe.cache.sources.table import open_table

__all__ = [
    "FeatureSource",
    "ImageSource",
    "Manifest",
    "SourceConfig",
    "file_path",
    "folder_of",
    "open_source",
    "stored_path",
]

_TABLES = (".csv", ".tsv")
_KINDS = (
    "a folder of images; a table of paths (.csv, .tsv); a file of arrays (.npz, .npy, .h5, .hdf5, "
    ".safetensors) that holds images or features; or `demonstration`"
)


def _option(default: Any, help: str, *, affects_result: bool) -> Any:
    """A config field as the stages declare theirs."""
    metadata = {"help": help, "affects_result": affects_result, "choices": ()}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class SourceConfig:
    """Images of a run; what they show decides what is stale, not where they lie."""

    path: str = _option(
        demonstration.NAME,
        "Images: a folder, a table of paths (.csv, .tsv), a file of arrays or features (.npz, "
        ".npy, .h5, .safetensors), or `demonstration`.",
        affects_result=False,
    )
    labels_from_folders: bool = _option(
        False,
        "Take the first folder below the source as ground-truth class; only `evaluate` sees it.",
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


def open_source(
    config: SourceConfig = SourceConfig(), *, progress: Progress = silent
) -> ImageSource | FeatureSource:
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


def _limited(source: ImageSource | FeatureSource, limit: int) -> ImageSource | FeatureSource:
    n = len(source.manifest)
    if limit in (0, n) or limit > n:
        return source
    index = evenly_spread(n, limit)
    if isinstance(source, FeatureSource):
        return FeatureSubset(source, index)
    return ImageSubset(source, index)


def folder_of(config: SourceConfig) -> Path:
    """The folder that the stored paths of a source's files are relative to, even if it is gone."""
    path = Path(config.path).expanduser().absolute()
    return path.parent if path.suffix.lower() in _TABLES and not path.is_dir() else path


def _open(config: SourceConfig, progress: Progress) -> ImageSource | FeatureSource:
    if config.path == demonstration.NAME:
        return DemonstrationImages()
    path = Path(config.path).expanduser().absolute()
    suffix = path.suffix.lower()
    if _is_folder(path):
        return open_folder(
            path,
            labels_from_folders=config.labels_from_folders,
            follow_links=config.follow_links,
            limits=_limits(config),
            progress=progress,
        )
    if suffix in _TABLES:
        return open_table(path, limits=_limits(config), progress=progress)
    if suffix in containers.SUFFIXES:
        return _open_arrays(path)
    raise UsageError(f"{path} is no source of images. Accepted: {_KINDS}")


def _limits(config: SourceConfig) -> limits.Limits:
    if config.max_pixels < 1 or not config.max_seconds > 0:
        raise UsageError("source.max_pixels and source.max_seconds must be above 0")
    return limits.Limits(config.max_pixels, config.max_seconds)


def _is_folder(path: Path) -> bool:
    """True if `path` is a folder, False if it is a file. Raises `UsageError` if it is neither."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist{_suggestion(path)}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise UsageError(f"{path} is neither a folder nor a regular file")
    return stat.S_ISDIR(mode)


def _suggestion(path: Path) -> str:
    names = [demonstration.NAME]
    with suppress(OSError):
        names += [sibling.name for sibling in path.parent.iterdir()]
    nearest = get_close_matches(path.name, names, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _open_arrays(path: Path) -> ImageSource | FeatureSource:
    file = open_arrays(path)
    if holds_features(file):
        return open_features(file)
    if "images" in file.arrays:
        return open_images(file)
    found = ", ".join(f"{name} {describe(rows)}" for name, rows in file.arrays.items())
    raise UsageError(
        f"{path} holds {found or 'no arrays'}. Accepted: features (n, d) floats, or "
        f"features_<name>; or images (n, h, w, 3) or (n, h, w) uint8"
    )
