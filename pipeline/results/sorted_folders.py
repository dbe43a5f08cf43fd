"""From the folders of an export, which a person has sorted since, to corrections."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from clusterpipe.cache.corrections import Act
from clusterpipe.pipeline.results.cluster_folders import (
    UNASSIGNED,
    found_by_hand,
    put_by_export,
)
from clusterpipe.pipeline.results.correcting import Speaker

MOST = 0.5  # of a cluster's images, in a folder that is called otherwise: it was renamed


def acts_of_folders(folder: Path, speaker: Speaker) -> list[Act]:
    """Acts for what was moved in `folder` since the export, and for folders that are new.

    An image in another folder moves to the cluster of the images that were there; in `unassigned`
    it is rejected. A new folder that holds most of a cluster, whose own is gone, is that cluster
    under another name; any other one is a cluster of its own, called like the folder. Of images
    that are in no folder any more nothing is said. Raises UsageError where no export has been.
    """
    results = speaker.results
    put, label = put_by_export(folder, results), results.clusters.label
    found = found_by_hand(folder, results)
    acts: list[Act] = []
    for name, rows in found.items():
        ids = {row: str(results.index.id[row]) for row in rows}
        strangers = [row for row in rows if put.get(row) != name]
        own = [int(label[row]) for row in rows if put.get(row) == name and label[row] >= 0]
        if name == UNASSIGNED:
            out = [ids[row] for row in strangers if label[row] >= 0]
            acts += speaker.rejections(out) if out else []
        elif own or name in put.values():
            home = Counter(own).most_common(1)[0][0] if own else _number(name)
            acts += _moves(speaker, strangers, home)
        elif strangers:
            acts += _new_folder(speaker, name, strangers, set(found))
    return acts


def _new_folder(speaker: Speaker, name: str, rows: Sequence[int], there: set[str]) -> Iterator[Act]:
    results, title = speaker.results, _title(name)
    label = results.clusters.label
    counts = Counter(int(label[row]) for row in rows if label[row] >= 0)
    cluster, count = counts.most_common(1)[0] if counts else (-1, 0)
    size = len(results.members(cluster)) if count else 0
    if count and count >= MOST * size and not _still_stands(cluster, there):
        yield speaker.act("rename", clusters=[cluster], name=title)
        yield from _moves(speaker, rows, cluster)
        return
    yield speaker.act("gather", images=[str(results.index.id[row]) for row in rows])
    yield speaker.naming(rows, title)


def _moves(speaker: Speaker, rows: Sequence[int], cluster: int) -> Iterator[Act]:
    results = speaker.results
    away = [row for row in rows if int(results.clusters.label[row]) != cluster]
    if away and len(results.members(cluster)):
        names = [str(results.index.id[row]) for row in away]
        yield speaker.act("move", images=names, clusters=[cluster])


def _still_stands(cluster: int, there: set[str]) -> bool:
    return any(_number(name) == cluster for name in there)


def _number(name: str) -> int:
    """The number of a cluster in the name of its folder, 012_red-bicycle; -1 without one."""
    found = re.match(r"(\d{3,})_", name)
    return int(found[1]) if found else -1


def _title(name: str) -> str:
    """Name of a folder as a caption."""
    return re.sub(r"^\d{3,}_", "", name).replace("-", " ").strip() or name
