"""Opening of one source: what a path names, by its ending and by what it holds."""

import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.sources import containers, demonstration, several
from clusterpipe.cache.sources.archives import open_archive
from clusterpipe.cache.sources.arrays import open_images
from clusterpipe.cache.sources.coco import open_json
from clusterpipe.cache.sources.columns import texts
from clusterpipe.cache.sources.containers import listed, open_arrays
from clusterpipe.cache.sources.features import FileFeatures, holds_features, open_features
from clusterpipe.cache.sources.files import FileImages, stored_path
from clusterpipe.cache.sources.folder import open_files, open_folder
from clusterpipe.cache.sources.listing import path_of
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.cache.sources.parquet import is_dataset, open_dataset, open_parquet
from clusterpipe.cache.sources.pictured import PicturedFeatures
from clusterpipe.cache.sources.places import SEPARATOR, at, at_top, parted
from clusterpipe.cache.sources.protocols import FeatureSource, ImageSource
from clusterpipe.cache.sources.table import open_table
from clusterpipe.cache.sources.text import open_text

_LISTS: Mapping[str, Callable[..., FileImages]] = {
    ".csv": open_table,
    ".tsv": open_table,
    ".txt": open_text,
    ".json": open_json,
}
_ARCHIVES = (".zip", ".tar")
_TABLES = (".parquet", ".pq")
_HINTS: Mapping[tuple[str, ...], str] = {
    (".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"): (
        "It is a compressed archive: unpack it first. "
    ),
    (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"): (
        "It holds pickled objects, which are never loaded, since they can run commands: save its "
        "features as an array, as with np.save('features.npy', features.numpy()). "
    ),
}
SUFFIXES = (*_LISTS, *_ARCHIVES, *_TABLES, *containers.SUFFIXES)
"""Endings of files that hold or list many images."""

_KINDS = (
    "a folder of images; a list of paths (.csv, .tsv, .txt, .json of COCO); an archive (.zip, "
    ".tar); a file of arrays (.npz, .npy, .h5, .hdf5, .safetensors, .parquet) that holds images or "
    "features; or `demonstration`"
)


_FETCHING = {
    "s3": "copy it, as with `aws s3 sync ADDRESS FOLDER`",
    "gs": "copy it, as with `gcloud storage rsync ADDRESS FOLDER`",
    "hf": "download it, as with `hf download --repo-type dataset NAME --local-dir FOLDER`",
    **dict.fromkeys(("http", "https", "ftp"), "download it, as with `curl -O ADDRESS`"),
    "file": "leave file:// out: it is a path",
}


@dataclass(frozen=True)
class Opening:
    """Settings that any kind of source may heed."""

    labels_from_folders: bool = False
    follow_links: bool = False
    limits: Limits = USUAL
    progress: Progress = silent


def open_one(source: str, opening: Opening = Opening()) -> ImageSource | FeatureSource:
    """The images or features at one path. Raises UsageError for what is no source."""
    _refuse_address(source)
    name, place = parted(source)
    path = Path(name).expanduser().absolute()
    suffix = path.suffix.lower()
    if _is_folder(path) and is_dataset(path):
        return open_dataset(path, limits=opening.limits, progress=opening.progress)
    if _is_folder(path):
        return open_folder(
            path,
            labels_from_folders=opening.labels_from_folders,
            follow_links=opening.follow_links,
            limits=opening.limits,
            progress=opening.progress,
        )
    if suffix in containers.SUFFIXES:
        return _open_arrays(path, place, opening)
    if place:
        raise UsageError(f"{path} has no groups: {SEPARATOR} names one of a file of arrays")
    if suffix in _LISTS:
        return _LISTS[suffix](path, limits=opening.limits, progress=opening.progress)
    if suffix in _TABLES:
        return open_parquet(path, limits=opening.limits, progress=opening.progress)
    if suffix in _ARCHIVES:
        return open_archive(
            path,
            labels_from_folders=opening.labels_from_folders,
            limits=opening.limits,
            progress=opening.progress,
        )
    hint = next((text for endings, text in _HINTS.items() if suffix in endings), "")
    raise UsageError(f"{path} is no source of images. {hint}Accepted: {_KINDS}")


def open_several(sources: Sequence[str], opening: Opening = Opening()) -> FileImages:
    """The images of all sources, each once: folders, image files, archives, lists, and patterns.

    Ids are paths relative to the folder that all have in common; those of an archive or a list
    stand behind its own path. Beside image files `.txt` and `.json` are no lists. Raises
    `UsageError` for what is no source, or one that a run takes alone.
    """
    for source in sources:
        _refuse_address(source)
    root = several.common_folder(sources)
    paths = list(dict.fromkeys(path for text in sources for path in several.matching(text)))
    folders = [path for path in paths if _is_folder(path)]
    rest = [path for path in paths if path not in set(folders)]
    among_files = any(path.suffix.lower() not in SUFFIXES for path in rest)
    lists = {path for path in rest if _is_list(path, among_files)}
    parts: dict[str, FileImages] = {}
    if files := [path for path in rest if path not in lists] or folders:
        parts[""] = open_files(
            root,
            folders=folders,
            files=[path for path in files if path not in set(folders)],
            labels_from_folders=opening.labels_from_folders,
            follow_links=opening.follow_links,
            limits=opening.limits,
            progress=opening.progress,
        )
    for path in paths:
        if path in lists:
            name = stored_path(path.relative_to(root).as_posix())
            parts[name] = several.image_files(open_one(str(path), opening), path)
    return several.joined(parts, root)


def _is_list(path: Path, among_files: bool) -> bool:
    suffix = path.suffix.lower()
    return suffix in SUFFIXES and not (among_files and suffix in (".txt", ".json"))


def _refuse_address(source: str) -> None:
    """Raises `UsageError` for what is no path but an address."""
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+):/+", source)
    if found and not Path(source).exists():
        how = _FETCHING.get(found[1].lower(), "copy it to this machine")
        raise UsageError(
            f"{source} is an address: clusterpipe reads files of this machine and opens no "
            f"connection. First {how}, then name the folder"
        )


def _is_folder(path: Path) -> bool:
    """True if `path` is a folder, False if it is a file. Raises `UsageError` if it is neither."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise UsageError(f"{path} is a link to what is not there: {path.readlink()}") from None
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


def _open_arrays(path: Path, place: str, opening: Opening) -> ImageSource | FeatureSource:
    whole = open_arrays(path)
    file = at(whole, place) if place else at_top(whole)
    if holds_features(file):
        return _with_pictures(open_features(file), file, opening)
    if "images" in file.arrays:
        return open_images(file)
    raise UsageError(
        f"{path} holds {listed(whole)}. Accepted: features (n, d) floats, or features_<name>; or "
        f"images (n, h, w, 3) or (n, h, w) uint8{_named(whole)}"
    )


def _with_pictures(
    features: FileFeatures, file: containers.ArrayFile, opening: Opening
) -> ImageSource | FeatureSource:
    """The features with the pictures that stand beside them: `images`, or `paths` of files."""
    n = len(features.manifest)
    if "images" in file.arrays:
        pictures: ImageSource = open_images(file)
        if len(pictures.manifest) != n:
            raise UsageError(
                f"{file.path}: {n} rows of features, but {len(pictures.manifest)} images"
            )
        return PicturedFeatures(features, pictures)
    if "paths" not in file.arrays:
        return features
    paths = strings(path_of(path, file.path.parent) for path in texts(file, "paths", n))
    pictured = replace(features, manifest=replace(features.manifest, path=paths))
    files = FileImages(features.name, file.path.parent, pictured.manifest, opening.limits)
    return PicturedFeatures(pictured, files)


def _named(file: containers.ArrayFile) -> str:
    """Advice to name what may be meant."""
    fits = [name for name in file.arrays if len(file.arrays[name].shape) in (2, 3, 4)]
    return f". Or name an array of it: {file.path}{SEPARATOR}{fits[0]}" if fits else ""
