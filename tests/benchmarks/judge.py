"""How near the number of clusters is on every set of a folder and all that derives from it.

Run: python tests/benchmarks/judge.py FOLDER OUT [--only=PART,...] [--methods=A,...] [--processes=N]
     [--seeds=N] [--random=N] [--large] [--fit-on=OTHER,...] [--weights] [--end-to-end]

FOLDER holds base sets, .npz files with `features` and `labels` (judged_cases.py says what is made
of them). Each case leaves a JSON file in OUT, and is not counted again while that was made with the
same settings, so a run that was broken off goes on. Then the tables of docs/measurements/count.md
are printed.

The stage runs on every case, and what it weighs is kept. The number that is judged is the one it
gives with weights fitted without the base sets that the case is made of (fit_levels.py), on the
other cases of OUT and of the folders OTHER, which this command made as well. A case of two sets
counts twice. --weights prints those fitted on all, which class_levels.py holds.

--only keeps cases whose name contains one of the parts, such as `whole:` or `zipf`; --seeds counts
each with so many seeds (peers with one); --random adds so many collections of each set, of some of
its classes, of sizes drawn, a quarter of them with classes of another set; --large adds 3,000
synthetic clusters, all sizes, and a million rows. The peers, UMAP before HDBSCAN and EVoC, are left
out where they are not installed. Cases run in processes of one thread each.

With --end-to-end, whole sets only: the clusters themselves, without K, scored against the classes;
what a peer leaves as noise is one cluster.
"""

import json
import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from fit_levels import Sample, fitted, left_out, named
from judged_cases import (
    Case,
    Rows,
    derived_cases,
    drawn_cases,
    is_of_two,
    partner,
    random_cases,
    rows_of,
)
from numpy.typing import NDArray

from clusterpipe.stages import STAGES
from clusterpipe.stages.estimate_k import EstimateKConfig, estimate_k
from clusterpipe.stages.numerics import class_levels
from clusterpipe.stages.numerics.class_levels import Evidence
from clusterpipe.stages.numerics.kmeans import kmeans
from clusterpipe.stages.numerics.metrics import agreement
from clusterpipe.stages.numerics.preparation import unit_rows

OURS = "clusterpipe"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
CLEAR = 0.8  # accuracy of centred k-means at the true number, from which clusters are clear
CLEAR_UP_TO = 20_000  # rows on which that is tried
WIDTHS = (1.2, 1.5, 2.5, 5, 10, math.inf)  # high over low, of the curve of coverage
LEAST = 10  # images to a cluster of HDBSCAN
Found = dict[str, Any]
COUNTS = {"whole": 3.0, "synthetic": 0.4, "fifty": 0.4, "random": 0.6}  # weight of a case in a fit


# ---- the methods -----------------------------------------------------------------------------


@contextmanager
def recorded() -> Iterator[list[Evidence]]:
    """What the stage weighs meanwhile, sample by sample."""
    original, kept = class_levels.evidence_of, []

    def recording(*given: Any, **named: Any) -> Evidence:
        kept.append(original(*given, **named))
        return kept[-1]

    class_levels.evidence_of = recording  # type: ignore[assignment]
    try:
        yield kept
    finally:
        class_levels.evidence_of = original


def by_clusterpipe(rows: NDArray[np.float32], *, end_to_end: bool, seed: int) -> Found:
    if not end_to_end:
        with recorded() as kept:
            found = estimate_k(rows, seed=seed)
        low, high = map(int, found.interval)
        answer = {"k": int(found.k), "low": low, "high": high, "reason": found.reason}
        return answer | ({"evidence": kept[-1]} if kept else {})
    from clusterpipe import FeatureClusters

    clusters = FeatureClusters(random_state=seed).fit(rows)
    low, high = clusters.interval_
    return {"k": clusters.n_clusters_, "low": low, "high": high, "label": clusters.labels_}


def by_umap(rows: NDArray[np.float32], *, end_to_end: bool, seed: int) -> Found:
    from sklearn.cluster import HDBSCAN
    from umap import UMAP

    near = min(15, len(rows) - 1)
    flat = UMAP(near, 10, metric="cosine", min_dist=0, init="random", random_state=seed)
    label = HDBSCAN(min(LEAST, len(rows)), copy=True).fit_predict(flat.fit_transform(rows))
    return {"k": max(int(label.max()) + 1, 1), "label": label}


def by_evoc(rows: NDArray[np.float32], *, end_to_end: bool, seed: int) -> Found:
    from evoc import EVoC

    label = EVoC(random_state=seed).fit_predict(rows)
    return {"k": max(int(label.max()) + 1, 1), "label": label}


@dataclass(frozen=True)
class Method:
    """find: rows (n, d) -> k and perhaps low, high, label; needs: the packages it is made of."""

    find: Callable[..., Found]
    needs: Sequence[str] = ()

    def settings(self, end_to_end: bool) -> Found:
        """What an answer depends on."""
        versions = {package: version(package) for package in self.needs}
        if self.needs:
            return versions
        return {
            "version": STAGES["estimate-k"].version,
            "end_to_end": end_to_end,
            **asdict(EstimateKConfig()),
        }


METHODS = {
    OURS: Method(by_clusterpipe),
    "UMAP + HDBSCAN(10)": Method(by_umap, ("umap-learn", "scikit-learn")),
    "EVoC": Method(by_evoc, ("evoc",)),
}


def installed(method: Method) -> bool:
    try:
        return bool(method.settings(end_to_end=False))
    except PackageNotFoundError:
        return False


# ---- one case --------------------------------------------------------------------------------


def file_of(case: Case, out: Path, seed: int = 0) -> Path:
    return out / f"{case.name.replace(' ', '-')}{f'~{seed}' if seed else ''}.json"


def judged(
    case: Case, seed: int = 0, *, folder: Path, out: Path, methods: Sequence[str], end_to_end: bool
) -> str:
    """The methods' answers on a case, kept in its file; which of them were not there."""
    file = file_of(case, out, seed)
    record: Found = json.loads(file.read_text()) if file.exists() else {"found": {}}
    settings = {name: METHODS[name].settings(end_to_end) for name in methods}
    missing = [
        name for name in methods if record["found"].get(name, {}).get("settings") != settings[name]
    ]
    if not missing:
        return ""
    rows = rows_of(case, folder)
    record |= asdict(case) | described(case, rows) | {"sets": sets_of(case, folder)}
    for name in missing:
        answer = answered(METHODS[name], rows, end_to_end=end_to_end, seed=seed)
        evidence = answer.pop("evidence", None)
        if evidence is not None:
            np.savez(file.with_suffix(".npz"), **vars(evidence))
        record["found"][name] = answer | {"settings": settings[name]}
    part = file.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1))
    part.replace(file)
    shown = [f"{name} {record['found'][name].get('k', 'failed')}" for name in missing]
    return f"{case.name} {seed or ''}: {record['k']} clusters; {', '.join(shown)}"


def sets_of(case: Case, folder: Path) -> list[str]:
    """The base sets a case is made of; drawn ones are two sets, by chance."""
    if case.kind == "synthetic" or case.kind.endswith("noise"):
        return [f"drawn {zlib.crc32(case.name.encode()) % 2}"]
    other = partner(folder, case.of) if is_of_two(case) else ""
    return [case.of, *([other] if other else [])]


def described(case: Case, rows: Rows) -> Found:
    """The true numbers: of all kinds, and of those of the base set alone."""
    kinds = np.unique(rows.label[rows.label >= 0])
    found: Found = {"n": len(rows.label), "k": len(kinds), "own": rows.own or len(kinds)}
    if case.kind == "synthetic" and len(rows.label) <= CLEAR_UP_TO:
        unit = unit_rows(rows.features - rows.features.mean(axis=0))
        label = kmeans(unit, len(kinds), spherical=True, iterations=10, seed=0).label
        found["accuracy"] = agreement(rows.label, label).accuracy
    return found


def answered(method: Method, rows: Rows, *, end_to_end: bool, seed: int) -> Found:
    """What the method finds, or why a peer failed, and in how many CPU seconds."""
    began = time.process_time()
    try:
        found = method.find(rows.features, end_to_end=end_to_end, seed=seed)
    except Exception as error:
        if not method.needs:
            raise
        return {"error": f"{type(error).__name__}: {error}"}
    found["seconds"] = round(time.process_time() - began, 1)
    label = found.pop("label", None)
    if label is not None and (rows.label >= 0).all():
        agreed = agreement(rows.label, np.asarray(label, np.int64) - min(label.min(), 0))
        found |= {"accuracy": agreed.accuracy, "nmi": agreed.nmi, "ari": agreed.ari}
    return found


# ---- tables ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """A case of a kind, the true number, and what every method found."""

    kind: str
    name: str
    case: str
    n: int
    k: int
    found: Mapping[str, Found]

    def error(self, method: str) -> float:
        k = self.found.get(method, {}).get("k")
        return abs(math.log(k / self.k)) if k else math.nan

    @property
    def width(self) -> float:
        return float(self.found[OURS]["high"] / self.found[OURS]["low"])

    @property
    def held(self) -> bool:
        return bool(self.found[OURS]["low"] <= self.k <= self.found[OURS]["high"])


def outcomes(records: Iterable[Found]) -> list[Outcome]:
    found = []
    for record in records:
        kind = kind_of(record)
        case = f"{record['of']}:{record['draw']}"
        made = partial(Outcome, name=record["of"], case=case, n=record["n"], found=record["found"])
        if kind == "foreign":
            found.append(made(kind="foreign, own classes", k=record["own"]))
            kind = "foreign, all classes"
        found.append(made(kind=kind, k=record["k"]))
    return found


def kind_of(record: Found) -> str:
    if record["kind"] == "synthetic":
        clear = record.get("accuracy", 1) >= CLEAR
        return "synthetic, clear" if clear else "synthetic, blurred"
    return "fifty images" if record["kind"].startswith("fifty of") else str(record["kind"])


# ---- weights that never saw the set ----------------------------------------------------------


def samples_of(files: Iterable[Path]) -> list[Sample]:
    """The recorded evidence of our own counts; near-copies tell nothing that the whole does not."""
    found = []
    for file in files:
        record = json.loads(file.read_text())
        kept = file.with_suffix(".npz")
        if kept.exists() and record["kind"] != "near-copies":
            with np.load(kept) as arrays:
                evidence = Evidence(**arrays)
            k = record["own"] if record["kind"] == "foreign" else record["k"]
            weight = COUNTS.get(record["kind"].split(" of ")[0], 1.0)
            sets = frozenset(record["sets"])
            found.append(Sample(str(file), sets, int(k), weight, evidence))
    return found


def with_weights_left_out(
    files: Sequence[Path], others: Sequence[Path]
) -> tuple[list[Found], list[Sample]]:
    """Each file's record as often as it has base sets, with the answer by weights without it."""
    samples = samples_of([*files, *others])
    levels = left_out(samples, [one for one in samples if Path(one.name) in {*files}])
    records = []
    for file in files:
        record = json.loads(file.read_text())
        for found in levels.get(str(file), [None]):
            ours = dict(record["found"][OURS])
            if found is not None:
                low, high = found.interval()
                ours |= {"k": found.k, "low": low, "high": high}
            records.append(record | {"found": record["found"] | {OURS: ours}})
    return records, samples


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def heading(*titles: str) -> None:
    print()
    row(*titles)
    print("|---" * len(titles) + "|")


def by_kind(found: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    kinds: dict[str, list[Outcome]] = {}
    for one in found:
        kinds.setdefault(one.kind, []).append(one)
    return kinds | {"all": list(found)}


def mean_error(found: Sequence[Outcome], method: str) -> str:
    errors = [one.error(method) for one in found]
    return "" if np.isnan(errors).all() else f"{np.nanmean(errors):.2f}"


def table_of_kinds(found: Sequence[Outcome], methods: Sequence[str]) -> None:
    peers = [name for name in methods if name != OURS]
    spread = ("mean abs log(k/K)", "median", "interval holds", "median high/low")
    heading("kind of case", "cases", *spread, *peers)
    for kind, some in by_kind(found).items():
        median = np.median([one.error(OURS) for one in some])
        held, width = np.mean([one.held for one in some]), np.median([one.width for one in some])
        cells = (mean_error(some, OURS), f"{median:.2f}", f"{held:.0%}", f"{width:.1f}")
        row(kind, len(some), *cells, *(mean_error(some, peer) for peer in peers))


def table_of_widths(found: Sequence[Outcome]) -> None:
    """How often intervals up to a width, and above the one before, hold the truth."""
    heading("interval holds, by high/low", *(f"up to {w:g}" if w < 1e9 else "more" for w in WIDTHS))
    bounds = list(zip((0.0, *WIDTHS), WIDTHS, strict=False))
    for kind, some in by_kind(found).items():
        held = [[one.held for one in some if low < one.width <= high] for low, high in bounds]
        row(kind, *(f"{sum(each)} of {len(each)}" if each else "" for each in held))


def table_of_whole_sets(found: Sequence[Outcome], methods: Sequence[str]) -> None:
    """The numbers of each seed."""
    heading("whole set", "images", "K", *methods)
    wholes: dict[str, list[Outcome]] = {}
    for one in found:
        if one.kind == "whole":
            wholes.setdefault(one.name, []).append(one)
    for name, seeds in wholes.items():
        ours = "; ".join(
            f"{found['k']} [{found['low']}, {found['high']}]"
            for found in (one.found[OURS] for one in seeds)
        )
        cells = [seeds[0].found.get(peer, {}).get("k", "") for peer in methods if peer != OURS]
        row(name, f"{seeds[0].n:,}", seeds[0].k, ours, *cells)


def table_of_seeds(found: Sequence[Outcome]) -> None:
    """How far the seed alone moves the number: deviation of log k, and largest over smallest."""
    heading("kind of case", "deviation of log k over seeds, mean", "largest k / smallest, worst")
    cases: dict[tuple[str, str, int], list[float]] = {}
    for one in found:
        cases.setdefault((one.kind, one.case, one.k), []).append(one.found[OURS]["k"])
    for kind in dict.fromkeys(kind for kind, _, _ in cases):
        some = [np.log(k) for key, k in cases.items() if key[0] == kind and len(set(k)) >= 1]
        spread, worst = np.mean([k.std() for k in some]), np.exp(max(np.ptp(k) for k in some))
        row(kind, f"{spread:.3f}", f"{worst:.2f}")


def table_of_clusters(found: Sequence[Outcome], methods: Sequence[str]) -> None:
    heading("without K: accuracy / ARI", "K", *methods)
    for one in found:
        cells = []
        for answer in (one.found.get(name, {}) for name in methods):
            scored = "accuracy" in answer
            cells.append(f"{answer['accuracy']:.3f} / {answer['ari']:.3f}" if scored else "")
        row(one.name, one.k, *cells)


# ---- the command -----------------------------------------------------------------------------


def chosen_cases(folder: Path, options: Mapping[str, str]) -> list[Case]:
    cases = [*derived_cases(folder), *drawn_cases(large="large" in options)]
    cases += random_cases(folder, int(options.get("random", 0)))
    if "end-to-end" in options:
        cases = [case for case in cases if case.kind == "whole"]
    parts = options.get("only", "").split(",")
    return [case for case in cases if any(part in case.name for part in parts)]


def run(tasks: Sequence[tuple[Case, int]], judge: Callable[..., str], processes: int) -> None:
    """Every case and seed, in processes that start afresh with one thread each."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(judge, *task) for task in tasks]):
            if done.result():
                print(done.result(), file=sys.stderr, flush=True)


def main() -> None:
    folder, out = (Path(argument) for argument in sys.argv[1:] if argument[:2] != "--")
    given = (a.removeprefix("--").partition("=") for a in sys.argv[1:] if a[:2] == "--")
    options = {name: value for name, _, value in given}
    wanted = options.get("methods", ",".join(METHODS)).split(",")
    methods = [name for name, one in METHODS.items() if name in (OURS, *wanted) and installed(one)]
    cases, end_to_end = chosen_cases(folder, options), "end-to-end" in options
    out.mkdir(parents=True, exist_ok=True)
    shared = {"folder": folder, "out": out, "end_to_end": end_to_end}
    processes = int(options.get("processes", os.cpu_count() or 1))
    run([(case, 0) for case in cases], partial(judged, methods=methods, **shared), processes)
    seeds = range(1, int(options.get("seeds", 1)))
    more = [(case, seed) for case in cases for seed in seeds]
    run(more, partial(judged, methods=[OURS], **shared), processes)
    files = [file_of(case, out, seed) for case in cases for seed in (0, *seeds)]
    if end_to_end:
        table_of_clusters(outcomes(json.loads(file.read_text()) for file in files), methods)
        return
    others = [f for o in options.get("fit-on", "").split(",") if o for f in Path(o).glob("*.json")]
    records, samples = with_weights_left_out(files, others)
    found = outcomes(records)
    table_of_whole_sets(found, methods)
    table_of_kinds(found, methods)
    table_of_widths(found)
    if seeds:
        table_of_seeds(found)
    if "weights" in options:
        print(json.dumps(named(fitted(samples)), indent=4))


if __name__ == "__main__":
    main()
