"""How CPU time, memory and bytes grow with the number of images: every stage and reading command.

Run: python tests/benchmarks/growth.py FOLDER [--rows 10000 100000 ...] [--clusters K] [--docs DOCS]

For each size, features (n, d) are drawn (`mixture.py`) and every command runs in a process of its
own, with the default settings, K given and one thread. "finish" is `run-all` after the stages
(captions and plots), "no-op" is `run-all` when nothing is left to do. FOLDER keeps the runs and
`growth.jsonl`, one line per command: what is in there is not measured again, so that a broken run
goes on; `--again COMMAND` measures one anew, `--only COMMAND ...` runs those only. With `--docs`,
the table is written between two marks of `measurements/scale.md` below that folder, and with two
sizes or more the log-log plot to `pictures/growth.png`. `--most-data MB` limits each process's data
(RLIMIT_DATA): one that needs more fails.

The exponent is that of the last step, log(CPU ratio) / log(n ratio), once what importing the
libraries costs has been subtracted; N log N is 1.08 from 100,000 to 1,000,000.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("clusterpipe"))
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
STAGES = ("embed", "estimate-k", "refine", "assign", "levels", "evaluate", "curate")
READING = ("finish", "no-op", "status", "metrics", "search", "predict", "export")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ONE_THREAD = dict.fromkeys(THREADS, "1")
BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"
PICTURE = "![CPU seconds and memory by the number of images](../pictures/growth.png)"
CLEAR = 1.0  # CPU seconds over an empty run, below which no exponent is given


@dataclass(frozen=True)
class Cost:
    """CPU seconds, peak memory in MB, and bytes left on disk by one command on n rows."""

    command: str
    rows: int
    seconds: float
    megabytes: float
    bytes: int


def measured(command: str, rows: int, arguments: Sequence[str], run: Path, most_data: int) -> Cost:
    """Cost of one command; raises RuntimeError with what it said if it fails."""
    before, result = size_of(run), run.parent / "cost.txt"
    script = Path(__file__).with_name("cost_of.py")
    done = subprocess.run(
        [sys.executable, script, result, str(most_data), PROGRAM, *arguments],
        capture_output=True,
        text=True,
        cwd=run.parent,
        env={**os.environ, **ONE_THREAD},
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{command} on {rows:,} rows failed: {said}")
    seconds, megabytes = map(float, result.read_text().split())
    left = size_of(run) - before
    return Cost(command, rows, round(seconds, 2), round(megabytes, 1), left)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def commands(features: Path, few: Path, run: Path, clusters: int) -> Mapping[str, Sequence[str]]:
    """The arguments of every command, stages first, in the order in which they can run."""
    where = ("--run-dir", str(run))
    own = {
        "embed": ("embed", str(features)),
        "assign": ("assign", "--set", f"assign.k={clusters}"),
        "finish": ("run-all", str(features)),
        "no-op": ("run-all", str(features)),
        "search": ("search", "--image", "0", "--no-sheet"),
        "predict": ("predict", str(few), "--output", str(run.parent / "predicted.csv")),
        "export": ("export", "--to", "csv", "--output", str(run.parent / "clusters.csv")),
    }
    return {name: (*own.get(name, (name,)), *where) for name in (*STAGES, *READING)}


def measure(folder: Path, given: argparse.Namespace) -> list[Cost]:
    """Costs of every command at every size, those that the folder knows already among them."""
    log = folder / "growth.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    known = {(c.command, c.rows): c for c in (Cost(**json.loads(line)) for line in lines)}
    few = folder / "few.h5"
    for rows in given.rows:
        place = folder / str(rows)
        place.mkdir(parents=True, exist_ok=True)
        features = place / "features.h5"
        draw(features, rows, given.clusters, given.width)
        draw(few, 1000, given.clusters, given.width)
        for name, arguments in commands(features, few, place / "run", given.clusters).items():
            if name not in given.only or ((name, rows) in known and name not in given.again):
                continue
            cost = measured(name, rows, arguments, place / "run", given.most_data * 2**20)
            known[name, rows] = cost
            print(f"{name:10} {rows:9,} {cost.seconds:8.1f} s {cost.megabytes:7.0f} MB", flush=True)
            with log.open("a") as file:
                print(json.dumps(asdict(cost)), file=file)
    return list(known.values())


def draw(path: Path, rows: int, clusters: int, width: int) -> None:
    """Writes features in a process of its own: what this one holds would count for its children."""
    if not path.exists():
        script, partial_file = Path(__file__).with_name("mixture.py"), path.with_suffix(".partial")
        sizes = map(str, (rows, clusters, width))
        subprocess.run([sys.executable, script, partial_file, *sizes], check=True)
        partial_file.rename(path)


def exponent(costs: Sequence[Cost], start: float) -> float | None:
    """Growth of CPU seconds over the last step, `start` subtracted; None where there is too little.

    costs: of one command, at least one, by rows.
    """
    from math import log

    clear = [cost for cost in costs if cost.seconds - start > CLEAR]
    if len(clear) < 2:
        return None
    first, last = clear[-2:]
    return log((last.seconds - start) / (first.seconds - start)) / log(last.rows / first.rows)


def by_command(costs: Iterable[Cost]) -> dict[str, list[Cost]]:
    """Costs of each command, by rows."""
    ordered = sorted(costs, key=lambda cost: cost.rows)
    return {
        name: [cost for cost in ordered if cost.command == name]
        for name in (*STAGES, *READING)
        if any(cost.command == name for cost in ordered)
    }


def table(costs: Iterable[Cost], start: float) -> str:
    """The costs as Markdown: CPU seconds / peak MB per size, the exponent, bytes per row."""
    found = by_command(costs)
    sizes = sorted({cost.rows for rows in found.values() for cost in rows})
    head = ["command", *(f"{size:,}" for size in sizes), "exponent", "bytes per row"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, rows in found.items():
        cell = {cost.rows: f"{cost.seconds:.1f} / {cost.megabytes:.0f}" for cost in rows}
        grows = exponent(rows, start)
        left = rows[-1].bytes / rows[-1].rows
        cells = [cell.get(size, "") for size in sizes]
        last = ["" if grows is None else f"{grows:.2f}", f"{left:.0f}" if left >= 1 else ""]
        lines.append("| " + " | ".join([name, *cells, *last]) + " |")
    return "\n".join(lines)


def plot(costs: Iterable[Cost], path: Path) -> None:
    """Log-log plot of CPU seconds and of peak memory, beside a line that grows as N log N."""
    import matplotlib

    matplotlib.use("agg")
    import numpy as np
    from matplotlib import pyplot

    found = {name: rows for name, rows in by_command(costs).items() if name in STAGES}
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, field, unit in zip(
        axes, ("seconds", "megabytes"), ("CPU seconds", "MB"), strict=True
    ):
        for name, rows in found.items():
            values = [getattr(cost, field) for cost in rows]
            axis.loglog([cost.rows for cost in rows], values, "o-", label=name)
        axis.set(xlabel="images", ylabel=unit)
    n = np.array(sorted({cost.rows for rows in found.values() for cost in rows}), float)
    axes[0].loglog(n, n * np.log(n) / (n[-1] * np.log(n[-1])) * 100, "k:", label="N log N")
    axes[1].axhline(2048, color="k", linestyle=":", label="2 GB")
    axes[0].legend(fontsize=8)
    axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def document(costs: Sequence[Cost], docs: Path, start: float) -> None:
    """Writes the table between the marks of the page, and where there are sizes, the plot."""
    page = docs / "measurements" / "scale.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    parts = [table(costs, start)]
    if len({cost.rows for cost in costs}) > 1:
        (docs / "pictures").mkdir(exist_ok=True)
        plot(costs, docs / "pictures" / "growth.png")
        parts.append(PICTURE)
    shown = "\n\n".join(parts)
    page.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}", encoding="utf-8")


def started() -> float:
    """CPU seconds of a process that imports what every stage does."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import torch, faiss, sklearn.cluster"], check=True)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--again", nargs="+", default=())
    parser.add_argument("--only", nargs="+", default=(*STAGES, *READING))
    parser.add_argument("--most-data", type=int, default=0, metavar="MB")
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    costs, start = measure(given.folder.resolve(), given), started()
    print(table(costs, start))
    print(f"{time.perf_counter() - began:.0f} s")
    if given.docs:
        document(costs, given.docs, start)


if __name__ == "__main__":
    main()
