"""The methods that settings name: which of them run, and on which features."""

from dataclasses import dataclass
from difflib import get_close_matches

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.heads import ALL, BY_WORDS, kind_of
from clusterpipe.stages.heads.consensus import Consensus

AUTO = "auto"
EMBEDDED, BOTH = "embeddings", "both"  # features that a method may name after a colon
APART = (Consensus.name, *BY_WORDS)  # methods whose features are others


@dataclass(frozen=True)
class Asked:
    """names: the methods that run, in their order; members: those that a consensus is made of, if
    one runs; chosen: the method that the run stands by, unless `rival` is better, '' for none."""

    names: tuple[str, ...]
    members: tuple[str, ...]
    chosen: str
    rival: str = ""


def asked_for(
    methods: tuple[str, ...], candidates: tuple[str, ...], *, several: bool, rival: str = ""
) -> Asked:
    """Methods that `assign.methods` and `assign.consensus.candidates` ask for.

    several: whether there are features beside the refined ones that a method may name; without,
    candidates that name some are left out; rival: of auto, '' for none. Raises UsageError for a
    name that is not known, stands twice or cannot be had.
    """
    names = _running(methods, candidates, several)
    members = tuple(name for name in names if name not in APART)
    if methods == (AUTO,) and rival:
        _known((rival,), several, setting="assign.consensus.rival")
        fitted = members if rival in members else (*members, rival)
        return Asked((*fitted, Consensus.name), members, Consensus.name, rival)
    if Consensus.name in names and not members:
        members = tuple(n for n in _usable(candidates, several) if n not in APART)
    return Asked(names, members, Consensus.name if methods == (AUTO,) else names[0])


def possible(methods: tuple[str, ...], candidates: tuple[str, ...], rival: str = "") -> set[str]:
    """Every method that may be fitted, whether it can be had or not."""
    if methods == (AUTO,):
        return {*candidates, *([rival] if rival else [])}
    return set(candidates if methods == (Consensus.name,) else methods)


def part_of(method: str) -> str:
    """The features that a method names, '' for those of `assign.features`."""
    return method.partition(":")[2]


def _running(
    methods: tuple[str, ...], candidates: tuple[str, ...], several: bool
) -> tuple[str, ...]:
    """For auto, the candidates and their consensus."""
    if methods == (AUTO,):
        found = _usable(candidates, several)
        return (*(name for name in found if name != Consensus.name), Consensus.name)
    if AUTO in methods:
        raise UsageError(
            "assign.methods: 'auto' stands alone, and chooses from assign.consensus.candidates, "
            f"which are {', '.join(candidates)}"
        )
    return _known(methods, several, setting="assign.methods")


def _usable(candidates: tuple[str, ...], several: bool) -> tuple[str, ...]:
    there = tuple(name for name in candidates if several or not part_of(name))
    return _known(there, several, setting="assign.consensus.candidates")


def _known(methods: tuple[str, ...], several: bool, *, setting: str) -> tuple[str, ...]:
    for method in methods:
        if kind_of(method) not in ALL:
            near = get_close_matches(method, [*ALL, AUTO], n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else ""
            there = ", ".join(ALL)
            raise UsageError(f"{setting}: there is no {method!r}, only {there}{hint}")
        if ":" in method:
            _check_part(method, several, setting=setting)
    if not methods or len(set(methods)) < len(methods):
        raise UsageError(f"{setting} must name at least one method, and none twice")
    return methods


def _check_part(method: str, several: bool, *, setting: str) -> None:
    """Refuses a method that names features which it cannot cluster."""
    kind, part = kind_of(method), part_of(method)
    if part not in (EMBEDDED, BOTH):
        raise UsageError(
            f"{setting}: {method!r} names no features; "
            f"there are {kind}:{EMBEDDED} and {kind}:{BOTH}"
        )
    if kind in APART:
        raise UsageError(f"{setting}: {kind} has features of its own, and none can be named")
    if not ALL[kind].unit:
        raise UsageError(
            f"{setting}: {kind} compares lengths, which refined features do not have; "
            f"take spherical-kmeans:{part}"
        )
    if not several:
        raise UsageError(
            f"{setting}: {method!r} needs refined features beside those that were embedded: set "
            "assign.features = refined"
        )
