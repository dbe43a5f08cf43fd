"""Collections whose number of clusters is known: sets of features, what derives from them, drawn.

A base set is an .npz with `features` (n, d) and `labels` (n,); others of the same width are mixed
with it. Every case is drawn from its own name, so that it is the same in every run.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterpipe.stages.numerics.preparation import unit_rows

FOREIGN, COPIES, COPY_NOISE = 0.1, 0.2, 0.05  # shares of all images; length of the difference
ZIPF_POWER, ZIPF_LEAST = 0.7, 5
FIFTY, KINDS_OF_FIFTY = 50, (2, 5, 10, 20, 40)
MIXED = 4  # one random collection in so many is of two sets
ALL_CLASSES, LEAST_OF_KIND, MOST_OF_RANDOM = 0.35, 4, 2_700
SEEN_FROM = 5  # images of a foreign class, from which it is a kind of its own
FEW, MANY, HUGE = (3, 10, 30, 100, 300, 1_000), 3_000, 1_000_000
SIZES = ("equal", "mild", "zipf")
ROWS_OF_NOISE, WIDTH = (300, 2_000), 512
Random = np.random.Generator


class Rows(NamedTuple):
    """features: (n, d) unit rows; label: (n,), -1 for an image that is of no class of its own.

    own: classes of the base set, where there are others.
    """

    features: NDArray[np.float32]
    label: NDArray[np.int64]
    own: int = 0


@dataclass(frozen=True)
class Case:
    """kind, and what it is made of: the base set, or the numbers of a drawn one; draw: a seed."""

    kind: str
    of: str = ""
    draw: int = 0

    @property
    def name(self) -> str:
        return ":".join(part for part in (self.kind, self.of, str(self.draw)) if part)


@cache
def read(file: Path) -> Rows:
    with np.load(file) as arrays:
        label = np.unique(arrays["labels"], return_inverse=True)[1].astype(np.int64)
        return Rows(unit_rows(arrays["features"]), label)


@cache
def base_sets(folder: Path) -> dict[str, tuple[int, int]]:
    """The width of the features and the number of classes of each labelled set in a folder."""
    found = {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            if {"features", "labels"} <= set(arrays):
                found[file.stem] = arrays["features"].shape[1], len(np.unique(arrays["labels"]))
    return found


def partner(folder: Path, name: str) -> str:
    """The next set of the same width; empty if there is none."""
    sets = base_sets(folder)
    alike = [other for other, (width, _) in sets.items() if width == sets[name][0]]
    after = alike[(alike.index(name) + 1) % len(alike)]
    return after if after != name else ""


def derived_cases(folder: Path) -> Iterator[Case]:
    """Every base set whole, and everything that is derived from it."""
    for name, (_, classes) in base_sets(folder).items():
        yield Case("whole", name)
        for draw in range(2):
            for kind in ("half", "half of the classes", "zipf"):
                yield Case(kind, name, draw)
        yield from (Case(kind, name) for kind in ("quarter", "near-copies"))
        if partner(folder, name):
            yield from (Case(kind, name) for kind in ("union", "foreign"))
        for draw in range(2):
            yield from (Case(kind, name, draw) for kind in ("one class", "two classes"))
        yield from (Case(f"fifty of {k}", name) for k in KINDS_OF_FIFTY if k <= classes)


def random_cases(folder: Path, draws: int) -> Iterator[Case]:
    """Collections of some classes of one set or two, of sizes drawn as well."""
    for name in base_sets(folder):
        yield from (Case("random", name, draw) for draw in range(draws))


def is_of_two(case: Case) -> bool:
    """True if the case also holds images of the partner of its set."""
    mixed = case.kind == "random" and case.draw % MIXED == MIXED - 1
    return mixed or case.kind in ("union", "foreign")


def drawn_cases(*, large: bool) -> Iterator[Case]:
    """Synthetic clusters, flat and in groups, and noise; sizes take turns unless `large`."""
    turn = 0
    for k in (*FEW, MANY) if large else FEW:
        for groups in (0, max(2, k // 5)):
            for noise in (0.6, 1.0):
                for size in SIZES if large else (SIZES[turn % 3],):
                    yield Case("synthetic", f"{k},{groups},{noise},{size},{max(3_000, 10 * k)}")
                turn += 1
    if large:
        yield Case("synthetic", f"1000,0,0.6,mild,{HUGE}")
    for n in ROWS_OF_NOISE:
        yield from (Case(kind, str(n)) for kind in ("gaussian noise", "uniform noise"))


def rows_of(case: Case, folder: Path) -> Rows:
    """The collection, in an order of its own."""
    random = np.random.default_rng(zlib.crc32(case.name.encode()))
    if case.kind == "synthetic":
        rows = synthetic(case.of, random)
    elif case.kind.endswith("noise"):
        normal = case.kind.startswith("gaussian")
        draw = random.standard_normal if normal else random.random
        rows = Rows(unit_rows(draw((int(case.of), WIDTH))), np.zeros(int(case.of), np.int64))
    else:
        rows = _derived(case, folder, random)
    order = random.permutation(len(rows.label))
    return rows._replace(features=rows.features[order], label=rows.label[order])


def _derived(case: Case, folder: Path, random: Random) -> Rows:
    whole = read(folder / f"{case.of}.npz")
    if case.kind == "random":
        other = partner(folder, case.of) if is_of_two(case) else ""
        if other:
            whole = union(whole, read(folder / f"{other}.npz"), random)
        kept = some_of_some(whole.label, random)
        return Rows(whole.features[kept], whole.label[kept])
    if case.kind in ("union", "foreign"):
        other = read(folder / f"{partner(folder, case.of)}.npz")
        return (union if case.kind == "union" else with_foreign)(whole, other, random)
    if case.kind == "near-copies":
        return with_copies(whole, random)
    if case.kind.startswith("fifty of "):
        kept = fifty(whole.label, int(case.kind.removeprefix("fifty of ")), random)
    else:
        kept = CHOICES[case.kind](whole.label, random)
    return Rows(whole.features[kept], whole.label[kept])


def share(part: float) -> Callable[[NDArray[np.int64], Random], NDArray[Any]]:
    return lambda label, random: random.permutation(len(label))[: int(part * len(label))]


def half_of_classes(label: NDArray[np.int64], random: Random) -> NDArray[Any]:
    kinds = random.permutation(label.max() + 1)
    return np.isin(label, kinds[: len(kinds) // 2])


def some_classes(count: int) -> Callable[[NDArray[np.int64], Random], NDArray[Any]]:
    return lambda label, random: np.isin(label, random.permutation(label.max() + 1)[:count])


def zipf(label: NDArray[np.int64], random: Random) -> NDArray[Any]:
    """Of the r-th class, in an order drawn, r^-0.7 of the images, and at least 5."""
    kept = []
    for rank, kind in enumerate(random.permutation(label.max() + 1), 1):
        rows = random.permutation(np.flatnonzero(label == kind))
        kept.append(rows[: max(ZIPF_LEAST, round(len(rows) * rank**-ZIPF_POWER))])
    return np.concatenate(kept)


def some_of_some(label: NDArray[np.int64], random: Random) -> NDArray[Any]:
    """Of 2 classes to all, geometrically, 4 images on average to as many as there are; sizes equal,
    within a factor of three, or falling as rank^-0.7, and at least 2."""
    size = np.bincount(label)
    kinds = random.permutation(len(size))
    count = round(float(np.exp(random.uniform(np.log(2), np.log(len(size))))))
    kinds = kinds if random.random() < ALL_CLASSES else kinds[:count]
    most = max(LEAST_OF_KIND + 1, float(np.median(size[kinds])))
    mean = np.exp(random.uniform(np.log(LEAST_OF_KIND), np.log(most)))
    wanted = SIZES_OF[random.choice(SIZES)](len(kinds), random)
    wanted *= min(mean, MOST_OF_RANDOM / len(kinds)) / wanted.mean()
    kept = []
    for kind, images in zip(kinds, wanted, strict=True):
        rows = random.permutation(np.flatnonzero(label == kind))
        kept.append(rows[: max(2, round(float(images)))])
    return np.concatenate(kept)


def fifty(label: NDArray[np.int64], kinds: int, random: Random) -> NDArray[Any]:
    """50 images of as many kinds, each at least once."""
    order = random.permutation(len(label))
    order = order[np.isin(label[order], random.permutation(label.max() + 1)[:kinds])]
    first = np.unique(label[order], return_index=True)[1]
    return np.concatenate([order[first], np.delete(order, first)])[:FIFTY]


CHOICES: dict[str, Callable[[NDArray[np.int64], Random], NDArray[Any]]] = {
    "whole": share(1),
    "half": share(0.5),
    "quarter": share(0.25),
    "half of the classes": half_of_classes,
    "zipf": zipf,
    "one class": some_classes(1),
    "two classes": some_classes(2),
}


def union(whole: Rows, other: Rows, random: Random) -> Rows:
    apart = other.label + whole.label.max() + 1
    return Rows(
        np.concatenate([whole.features, other.features]), np.concatenate([whole.label, apart])
    )


def with_foreign(whole: Rows, other: Rows, random: Random) -> Rows:
    """A tenth of all images are of another set; those with fewer than 5 of their kind have -1."""
    count = round(len(whole.label) * FOREIGN / (1 - FOREIGN))
    chosen = random.permutation(len(other.label))[:count]
    label = other.label[chosen] + whole.label.max() + 1
    label[np.bincount(label)[label] < SEEN_FROM] = -1
    features = np.concatenate([whole.features, other.features[chosen]])
    own = len(np.unique(whole.label))
    return Rows(features, np.concatenate([whole.label, label]), own)


def with_copies(whole: Rows, random: Random) -> Rows:
    """A fifth of the images a second time, hardly changed."""
    chosen = random.permutation(len(whole.label))[: round(len(whole.label) * COPIES)]
    change = random.standard_normal((len(chosen), whole.features.shape[1]))
    copies = unit_rows(whole.features[chosen] + COPY_NOISE * unit_rows(change))
    return Rows(
        np.concatenate([whole.features, copies]), np.concatenate([whole.label, whole.label[chosen]])
    )


SIZES_OF: dict[str, Callable[[int, Random], NDArray[np.float64]]] = {
    "equal": lambda k, random: np.ones(k),
    "mild": lambda k, random: random.uniform(0.5, 1.5, k),
    "zipf": lambda k, random: np.arange(1, k + 1) ** -ZIPF_POWER,
}


def synthetic(spec: str, random: Random) -> Rows:
    """Clusters on the sphere: "K,GROUPS,NOISE,SIZES,ROWS"; 0 groups are none.

    Centres are normal; those of a group share 65% of their direction. Noise falls over the
    coordinates, the same in all clusters. Sizes are equal, within a factor of three, or fall as
    rank^-0.7.
    """
    k, groups, noise, sizes, n = spec.split(",")
    chances = SIZES_OF[sizes](int(k), random)
    label = random.choice(int(k), int(n), p=chances / chances.sum())
    centre = random.standard_normal((int(k), WIDTH))
    if int(groups):
        shared = random.standard_normal((int(groups), WIDTH))[np.arange(int(k)) % int(groups)]
        centre = np.sqrt(0.65) * shared + np.sqrt(0.35) * centre
    centre = (0.6 * centre + 0.8 * random.standard_normal(WIDTH)) / np.sqrt(WIDTH)
    fall = random.permutation((np.arange(WIDTH) + 4.0) ** -0.5)
    rows = random.standard_normal((int(n), WIDTH), np.float32)
    rows *= (fall / np.linalg.norm(fall) * float(noise)).astype(np.float32)
    rows += centre.astype(np.float32)[label]
    return Rows(unit_rows(rows), label)
