"""The log of corrections: what a person did to the clusters of a run, one act per line, as JSON.

Acts speak of images, by id and digest, and of clusters by some of their images: numbers of clusters
change with every fit. Nothing is ever taken out: an act is undone by another one.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from clusterpipe.cache import storage
from clusterpipe.cache.errors import DamagedArtifact

Images = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class NamedCluster:
    """A cluster as an act names it: by some of its images, exemplars first.

    images: id to digest; size: number of all its images at the time; number: its number at the
    time, for people to read.
    """

    images: Images
    size: int
    number: int = -1


@dataclass(frozen=True, kw_only=True)
class Act:
    """One act of a person. `kind` is one of `KINDS`, which say what each needs.

    time: ISO 8601, with the zone; images: id to digest; undoes: the line of the act taken back.
    """

    kind: str
    time: str = ""
    author: str = ""
    clusters: tuple[NamedCluster, ...] = ()
    images: Images = field(default_factory=dict)
    name: str = ""
    into: int = 0
    text: str = ""
    undoes: int = 0


@dataclass(frozen=True)
class Kind:
    """One kind of act: how many clusters and images it speaks of, and the field it needs besides.

    Numbers are the least and the most.
    """

    about: str
    clusters: tuple[float, float] = (0, 0)
    images: tuple[float, float] = (0, 0)
    needs: str = ""


_ONE, _SOME, _ANY = (1, 1), (1, math.inf), (0, math.inf)

KINDS: Mapping[str, Kind] = {
    "rename": Kind("calls a cluster by a name", _ONE, needs="name"),
    "merge": Kind("makes one cluster of several", (2, math.inf)),
    "split": Kind("parts a cluster into `into` clusters", _ONE, needs="into"),
    "gather": Kind("makes a cluster of a selection of images", images=_SOME),
    "move": Kind("moves images to a cluster", _ONE, _SOME),
    "reject": Kind("takes images out of a cluster, into none", _ONE, _SOME),
    "pin": Kind("keeps images in a cluster, whatever a fit says", _ONE, _SOME),
    "same": Kind("holds images together in one cluster", images=(2, math.inf)),
    "not-same": Kind("keeps two images in different clusters", images=(2, 2)),
    "keep": Kind("keeps an image of its group of near-duplicates", images=_SOME),
    "drop": Kind("leaves images out of what is unique", images=_SOME),
    "star": Kind("puts images first among the exemplars of their cluster", images=_SOME),
    "note": Kind("notes something", _ANY, _ANY, needs="text"),
    "undo": Kind("takes back the act of the line `undoes`", needs="undoes"),
}
_FIELDS: Mapping[str, type] = {
    "act": str,
    "time": str,
    "author": str,
    "clusters": list,
    "images": dict,
    "name": str,
    "into": int,
    "text": str,
    "undoes": int,
}


class BadLine(ValueError):
    """A line that is no act; `number` counts from 1."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number = number


# ---------------------------------------------------------------- text


def written(act: Act) -> str:
    """The act as one line of the log, without what is empty."""
    document: dict[str, Any] = {"act": act.kind, "time": act.time, "author": act.author}
    for key in ("name", "into", "text", "undoes"):
        document[key] = getattr(act, key)
    document["images"] = dict(act.images)
    document["clusters"] = [
        {"number": c.number, "size": c.size, "images": dict(c.images)} for c in act.clusters
    ]
    return json.dumps({k: v for k, v in document.items() if v}, ensure_ascii=False)


def parsed(text: str, *, before: int = 0) -> list[Act]:
    """The acts of a log, one per line; blank lines at the end count as none.

    before: number of acts that come before these, which an undo may name. Raises BadLine.
    """
    acts: list[Act] = []
    for number, line in enumerate(text.rstrip("\n").split("\n") if text.strip() else (), start=1):
        try:
            act = _act(json.loads(line))
            if act.kind == "undo" and not 1 <= act.undoes < before + number:
                raise ValueError(f"there is no line {act.undoes} before it to undo")
        except json.JSONDecodeError as error:
            raise BadLine(number, f"it is no JSON ({error.msg})") from error
        except ValueError as error:
            raise BadLine(number, str(error)) from error
        acts.append(act)
    return acts


def _act(document: Any) -> Act:
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    for key, value in document.items():
        kind = _FIELDS.get(key)
        if kind is None:
            raise ValueError(f"there is no field {key!r}: they are {', '.join(_FIELDS)}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{key!r} is a {_JSON[kind]}, not {json.dumps(value)[:60]}")
    known = {key: value for key, value in document.items() if key != "act"}
    known["images"] = _images(known.get("images", {}))
    known["clusters"] = tuple(map(_cluster, known.get("clusters", ())))
    act = Act(kind=document.get("act", ""), **known)
    _check(act)
    return act


_JSON = {str: "text", int: "whole number", list: "list", dict: "object of ids and digests"}


def _images(found: Mapping[str, Any]) -> Images:
    if not all(isinstance(digest, str) for digest in found.values()):
        raise ValueError("'images' has a digest, a text, for each id")
    return dict(found)


def _cluster(found: Any) -> NamedCluster:
    if not isinstance(found, dict) or not isinstance(found.get("images"), dict):
        raise ValueError("each of 'clusters' is an object with 'images'")
    images = _images(found["images"])
    size, number = found.get("size", len(images)), found.get("number", -1)
    if not images:
        raise ValueError("a cluster is named by at least one of its images")
    if not isinstance(size, int) or not isinstance(number, int) or size < len(images):
        raise ValueError("'size' and 'number' of a cluster are whole numbers, size of all images")
    return NamedCluster(images=images, size=size, number=number)


def _check(act: Act) -> None:
    """Raises ValueError for an act that is not what its kind needs."""
    kind = KINDS.get(act.kind)
    if kind is None:
        raise ValueError(f"'act' is one of {', '.join(KINDS)}, not {act.kind!r}")
    for what, (least, most) in {"clusters": kind.clusters, "images": kind.images}.items():
        count = len(getattr(act, what))
        if not least <= count <= most:
            raise ValueError(f"{act.kind} names {_counted(least, most)} {what}, not {count}")
    needed = ("name", "into", "text", "undoes")
    for key in needed:
        value = getattr(act, key)
        if bool(value) != (key == kind.needs):
            raise ValueError(f"{act.kind} {'needs' if key == kind.needs else 'takes no'} {key!r}")
    if act.kind == "split" and act.into < 2:
        raise ValueError(f"split parts a cluster into at least 2, not {act.into}")
    if act.kind == "rename" and not act.name.strip():
        raise ValueError("a name has at least one letter")
    if act.time:
        _check_time(act.time)


def _counted(least: float, most: float) -> str:
    if least == most:
        return "no" if most == 0 else f"{least:g}"
    return f"at least {least:g}"


def _check_time(time: str) -> None:
    try:
        datetime.fromisoformat(time)
    except ValueError as error:
        raise ValueError(f"'time' is no time of ISO 8601: {time!r}") from error


# ---------------------------------------------------------------- the file


def read_log(path: Path | None) -> list[Act]:
    """The acts of a run's log; none where there is no file.

    Raises DamagedArtifact, naming the line, for a log that was edited into something else.
    """
    if path is None or not path.exists():
        return []
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except (BadLine, UnicodeDecodeError) as error:
        raise DamagedArtifact(f"{path}, {error}: mend the line, or take it out") from error


def append(path: Path, acts: Sequence[Act]) -> None:
    """Adds acts to a log, whole or not at all, under the run's lock. Raises StorageError."""
    before = ""
    if read_log(path):
        before = path.read_text(encoding="utf-8").rstrip("\n") + "\n"
    storage.write_text(path, before + "".join(f"{written(act)}\n" for act in acts))


def in_force(acts: Iterable[Act]) -> list[bool]:
    """For each act whether it counts: it is no undo, and not undone. An undo can be undone."""
    acts = list(acts)
    counts = [True] * len(acts)
    for place in reversed(range(len(acts))):
        if counts[place] and acts[place].kind == "undo":
            counts[acts[place].undoes - 1] = False
    return [c and act.kind != "undo" for c, act in zip(counts, acts, strict=True)]
