"""JSON that lists images: COCO's annotations, or objects with a `path`, as we export them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.limits import USUAL, Limits
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.sources.files import FileImages
from clusterpipe.cache.sources.listing import Line, open_lines, path_of

_MOST = 1 << 29  # bytes; in memory JSON takes several times as many


def open_json(listed: Path, *, limits: Limits = USUAL, progress: Progress = silent) -> FileImages:
    """The images that `listed` names.

    Of COCO's annotations the ids are the file names, and the label of an image is its category if
    all of its annotations have the same; images of several categories are unlabelled, and a remark
    counts them. The files lie beside the JSON, or in a folder beside it or its folder whose name
    the JSON's ends with, as COCO's own do. Raises `UsageError` for other JSON.
    """
    known = _parsed(listed)
    try:
        if isinstance(known, list):
            lines = [_exported(row, number, listed) for number, row in enumerate(known, 1)]
            return open_lines(listed, lines, limits=limits, progress=progress)
        lines, several = _annotated(known)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{listed} is neither COCO's annotations (images, annotations, categories) nor an "
            f"array of objects with a path: {type(error).__name__} {error}"
        ) from error
    remarks = (f"{several:,} images show several categories, and have no label",) if several else ()
    return open_lines(
        listed,
        lines,
        root=_root(listed, lines),
        limits=limits,
        progress=progress,
        remarks=remarks,
    )


def _parsed(listed: Path) -> Any:
    try:
        if listed.stat().st_size > _MOST:
            raise UsageError(
                f"{listed} has more than {_MOST >> 20} MiB: make a .csv with the columns path and "
                "label of it"
            )
        return json.loads(listed.read_bytes())
    except OSError as error:
        raise UsageError(f"{listed} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{listed} is no JSON: {error}") from error


def _exported(row: Mapping[str, Any], number: int, listed: Path) -> Line:
    path = path_of(_text(row["path"]), listed.parent)
    if not row["path"]:
        raise UsageError(f"{listed}, object {number}: the path is empty")
    label, split = (_text(row.get(name) or "") for name in ("label", "split"))
    return Line(number, path, _text(row.get("id") or path), label, split)


def _annotated(known: Mapping[str, Any]) -> tuple[list[Line], int]:
    """The images of COCO's annotations, and how many of them show several categories."""
    names = {kind["id"]: _text(kind["name"]) for kind in known.get("categories") or ()}
    shown: dict[Any, set[str]] = defaultdict(set)
    for annotation in known.get("annotations") or ():
        if "category_id" in annotation:
            shown[annotation["image_id"]].add(names[annotation["category_id"]])
    lines = [
        Line(number, name, name, _only(shown[image["id"]]))
        for number, image in enumerate(known["images"], 1)
        if (name := _text(image["file_name"]))
    ]
    return lines, sum(len(kinds) > 1 for kinds in shown.values())


def _only(kinds: Iterable[str]) -> str:
    first, *others = [*kinds, ""]
    return first if len(others) <= 1 else ""


def _root(listed: Path, lines: list[Line]) -> Path:
    """The folder in which the first image lies: of annotations/instances_val.json also val/."""
    part = listed.stem.rpartition("_")[2]
    near = [listed.parent, listed.parent.parent]
    wanted = [*near, *(folder / name for folder in near for name in (part, "images"))]
    wanted.append(listed.parent.parent / "images" / part)
    there = (folder for folder in wanted if lines and (folder / lines[0].path).is_file())
    return next(there, listed.parent)


def _text(value: object) -> str:
    if not isinstance(value, str | int):
        raise TypeError(f"{value!r} is no text")
    return str(value)
