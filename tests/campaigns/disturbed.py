"""Commands that are disturbed: killed, out of space, beside each other, on moving and slow files.

    python tests/campaigns/disturbed.py kills --count 200 --seed 0
    python tests/campaigns/disturbed.py full-disk side-by-side moving-files slow-files --minutes 30

Each trial takes a copy of a finished run of 24 pictures, or the pictures alone, and disturbs one
command at a moment drawn at random. Right is: the command ends with a code that is documented, no
artifact is damaged, the same command then ends with 0, and what it leaves equals what it leaves
undisturbed, to the content id of every dataset, with no temporary file. Nothing is mocked. Seeded;
one command at a time (two in `side-by-side`), below 2 GB.
"""

import argparse
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import tiny_backbone
from leases import Held
from program import Done, Running, content_ids, draw, paint, run

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import ClusterpipeError
from clusterpipe.cache.inspection import inspect
from clusterpipe.cache.schema import Embeddings

SETTINGS = {
    "assign.k": 3,
    "assign.methods": "['spherical-kmeans']",
    "refine.preset": "'paper'",
    "refine.hidden": 32,
    "refine.width": 8,
    "refine.batch": 24,
    "refine.epochs": 2,
    "embed.batch_size": 4,
    "embed.shard_size": 4,
    "evaluate.seeds": 1,
}
COMMANDS: Mapping[str, Sequence[str]] = {
    "run-all": ("run-all", "../photos", "--run-dir", "run"),
    "embed": ("embed", "../photos", "--run-dir", "run", "--rehash"),
    "estimate-k": ("estimate-k", "--run-dir", "run", "--force"),
    "refine": ("refine", "--run-dir", "run", "--force"),
    "assign": ("assign", "--run-dir", "run", "--force"),
    "evaluate": ("evaluate", "--run-dir", "run", "--force"),
    "curate": ("curate", "--run-dir", "run", "--force"),
    "report": ("report", "--run-dir", "run"),
    "plots": ("plots", "--run-dir", "run"),
    "export csv": ("export", "--run-dir", "run", "--to", "csv"),
    "export folders": ("export", "--run-dir", "run", "--to", "folders", "--copy"),
    "append": ("predict", "../new", "--append", "--run-dir", "run"),
}


PATIENCE = 1.0  # seconds to wait for a file that does not answer
GRACE = 4.0  # seconds in which a command has ended that is told to: 2.5, and some for the machine
Trials = Iterator[tuple[int, str]]  # their number, and the command


@dataclass
class Figures:
    """What came of a campaign: how often what happened, and the faults in words."""

    outcome: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, what: str, outcome: str, faults: Sequence[str]) -> None:
        self.outcome[outcome] += 1
        self.faults += (found := [f"{what}: {fault}" for fault in faults if fault])
        print(f"{what}: {outcome}", *found, sep="\n  ", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        found = ", ".join(f"{count:,} {name}" for name, count in sorted(self.outcome.items()))
        return f"{found}; {len(self.faults)} faults; {self.seconds:.0f} CPU seconds"


@dataclass(frozen=True)
class World:
    """Pictures, and folders to copy: of a run that is to begin, `fresh`, and a finished one."""

    home: Path
    whole: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def copy(self, command: str, name: str) -> Path:
        """A new folder to run `command` in."""
        place = self.home / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.home / ("fresh" if command == "run-all" else "done"), place)
        return place

    def expected(self, command: str) -> Any:
        """What `command` leaves undisturbed; `seconds` then has how long it took."""
        if command not in self.whole:
            place = self.copy(command, "trial")  # ids of appended images are paths
            done = run(*COMMANDS[command], cwd=place)
            assert done.code == 0, f"{command}: {done.err}"
            self.whole[command], self.seconds[command] = left_by(place, command), done.seconds
        return self.whole[command]


def world(home: Path) -> World:
    """The folders that trials start from."""
    fresh = home / "fresh"
    paint(home / "photos", per_kind=8)
    (home / "new").mkdir()
    for kind in range(3):
        draw(kind, 50).save(home / f"new/new{kind}.png")
    definition = tiny_backbone.save(home / "tiny.pt")
    lines: dict[str, list[str]] = {"embed": [f'backbones = ["tiny={definition}"]']}
    for key, value in SETTINGS.items():
        table, _, name = key.partition(".")
        lines.setdefault(table, []).append(f"{name} = {value}")
    text = "\n".join(f"[{table}]\n" + "\n".join(rows) for table, rows in lines.items())
    (fresh / "run").mkdir(parents=True)
    (fresh / "run/pipeline.toml").write_text(text)
    made = World(home)
    shutil.copytree(fresh, home / "done")
    done = run(*COMMANDS["run-all"], cwd=home / "done")
    assert done.code == 0, done.err
    return made


def left_by(place: Path, command: str) -> Any:
    """Content ids of a run, but for times of files, and of what was exported the bytes."""
    folder = place / "run/export"
    files = {
        str(path.relative_to(folder)): blake2b(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and command.startswith("export")
    }
    times = ("mtime", "stamp")
    ids = {
        name: {key: value for key, value in found.items() if not key.endswith(times)}
        for name, found in content_ids(place / "run").items()
    }
    return ids, files


def fault(done: Done) -> str:
    """What no disturbance excuses: an unexpected error, a crash, or no end."""
    if done.code == -signal.SIGALRM:
        return f"did not end in {done.seconds:.0f} s"
    if done.code < 0 or done.code == 1 or "Traceback" in done.err:
        return f"exit {done.code}: {done.err.strip()[-300:]}"
    return ""


def damaged(place: Path) -> list[str]:
    """Artifacts of a run that are there and not whole."""
    found = []
    for path in sorted((place / "run").rglob("*.h5")):
        if path.name.startswith("."):
            continue
        try:
            inspect(path)
        except ClusterpipeError as error:
            found.append(f"bad artifact: {error}")
    return found


def settled(world: World, place: Path, command: str, arguments: Sequence[str] = ()) -> list[str]:
    """What is wrong once `command` has been run again to its end."""
    again = run(*COMMANDS[command], cwd=place)
    if again.code != 0:
        return [f"cannot go on: exit {again.code}: {again.err.strip()[-300:]}"]
    faults = [f"{name} is left" for name in leftovers(place)]
    if left_by(place, command) != world.expected(command):
        faults.append("the result is another one")
    return faults


def completed(world: World, place: Path, command: Sequence[str]) -> list[str]:
    """What is wrong once a run has seen all pictures; those that came later are later rows."""
    again = run(*command, cwd=place)
    if again.code != 0:
        return [f"cannot go on: exit {again.code}: {again.err.strip()[-300:]}"]
    faults = [f"{name} is left" for name in leftovers(place)] + damaged(place)
    (found, one), (wanted, two) = (embedded(folder) for folder in (place, world.home / "done"))
    same = found == wanted and np.allclose(one, two, atol=2e-2)  # of float16, in another order
    return faults if same else [*faults, "not every picture is embedded as it is"]


def embedded(place: Path) -> tuple[list[tuple[str, str]], np.ndarray[Any, Any]]:
    """Ids and digests of the pictures in their order, and their features."""
    index = artifact.read(place / "run/embeddings.h5", Embeddings)
    order = np.argsort(index.id)
    features = index.spaces["tiny"].features[0 : len(order)]
    names = zip(index.id[order], index.digest[order], strict=True)
    return list(names), features[order].astype(float)


def leftovers(place: Path) -> list[str]:
    return [path.name for path in (place / "run").rglob("*.tmp")]


# ---------------------------------------------------------------- disturbances


def kills(trials: Trials, rng: np.random.Generator, world: World) -> Figures:
    """SIGKILL at a moment drawn from the whole of the command."""
    figures = Figures()
    for number, command in trials:
        world.expected(command)
        place = world.copy(command, "trial")
        process = Running(*COMMANDS[command], cwd=place)
        time.sleep(float(rng.uniform(0.02, 1.0)) * world.seconds[command])
        killed = process.kill()
        ended = process.wait()
        faults = damaged(place) + settled(world, place, command)
        outcome = "killed" if killed else "had ended"
        figures.note(f"{number}: {command}", outcome, ["" if killed else fault(ended), *faults])
    return figures


def full_disk(trials: Trials, rng: np.random.Generator, world: World) -> Figures:
    """No file may grow beyond a size drawn from 0.5 kB to 200 kB: the disk is full there."""
    figures = Figures()
    for number, command in trials:
        place = world.copy(command, "trial")
        size = int(np.exp(rng.uniform(np.log(500), np.log(200_000))))
        ended = run(*COMMANDS[command], cwd=place, largest_file=size)
        faults = [fault(ended), *damaged(place), *settled(world, place, command)]
        if ended.code not in (0, 8):
            faults.append(f"exit {ended.code}: {ended.err.strip()[-200:]}")
        figures.note(f"{number}: {command}, {size:,} bytes", f"exit {ended.code}", faults)
    return figures


def side_by_side(trials: Trials, rng: np.random.Generator, world: World) -> Figures:
    """A second command on the same run, begun at any moment of the first."""
    figures = Figures()
    for number, command in trials:
        world.expected(command)
        place = world.copy("any", "trial")
        other = str(rng.choice(list(COMMANDS)))
        first = Running(*COMMANDS[command], cwd=place)
        time.sleep(float(rng.uniform(0, 1)) * world.seconds[command])
        second = Running(*COMMANDS[other], cwd=place)
        ends = [first.wait(), second.wait()]
        faults = [fault(end) for end in ends] + damaged(place)
        faults += [f"{name} is left" for name in leftovers(place)]
        faults += [f"exit {end.code}: {end.err[-200:]}" for end in ends if end.code not in (0, 7)]
        after = run(*COMMANDS["run-all"], cwd=place)
        faults.append("" if after.code == 0 else f"cannot go on: {after.err[-300:]}")
        codes = " and ".join(str(end.code) for end in ends)
        figures.note(f"{number}: {command} beside {other}", f"exits {codes}", faults)
    return figures


def moving_files(trials: Trials, rng: np.random.Generator, world: World) -> Figures:
    """While pictures are embedded some vanish, are cut, overwritten, made pipes or locked away."""
    figures = Figures()
    world.expected("run-all")
    command = ("run-all", "photos", "--run-dir", "run", "--max-bad", "0.6")
    for number, _ in trials:
        place = world.copy("run-all", "trial")
        shutil.copytree(world.home / "photos", place / "photos")
        files = sorted((place / "photos").rglob("*.png"))
        move = MOVES[int(rng.integers(len(MOVES)))]
        process = Running(*command, cwd=place)
        time.sleep(float(rng.uniform(0, 1)) * world.seconds["run-all"] / 2)
        for chosen in rng.permutation(len(files))[: int(rng.integers(1, 9))]:
            move(files[chosen])
        ended = process.wait()
        faults = [fault(ended), *damaged(place)]
        if ended.code not in (0, 2, 3):
            faults.append(f"exit {ended.code}: {ended.err.strip()[-200:]}")
        shutil.rmtree(place / "photos")
        shutil.copytree(world.home / "photos", place / "photos")
        faults += completed(world, place, command)
        figures.note(f"{number}: {move.__name__}", f"exit {ended.code}", faults)
    return figures


def slow_files(trials: Trials, rng: np.random.Generator, world: World) -> Figures:
    """Some pictures answer late or not at all; a third of the commands is told to stop then."""
    figures = Figures()
    world.expected("run-all")
    command = ("run-all", "photos", "--run-dir", "run", "--max-bad", "0.6")
    impatient = (*command, "--set", f"source.max_seconds={PATIENCE}")
    for number, _ in trials:
        place = world.copy("run-all", "trial")
        shutil.copytree(world.home / "photos", place / "photos")
        files = sorted((place / "photos").rglob("*.png"))
        chosen = rng.permutation(len(files))[: int(rng.integers(1, 5))]
        held = [Held(files[each]) for each in chosen]
        late = float(rng.choice([0.5, 1.5, 30])) * PATIENCE
        process = Running(*impatient, cwd=place)
        end, told = process.began + late, rng.random() < 1 / 3
        wait_until(process, end if not told else process.began + float(rng.uniform(0, late)))
        stopped = time.monotonic()
        if told:
            process.send_signal(signal.SIGTERM)
            wait_until(process, stopped + GRACE)
        faults = ["" if process.has_ended() or not told else f"deaf for {GRACE:g} s"]
        for each in held:
            each.give_up()
        ended = process.wait()
        faults += [fault(ended), *damaged(place)]
        if ended.code not in (0, 3, *[143] * told):
            faults.append(f"exit {ended.code}: {ended.err.strip()[-200:]}")
        faults += completed(world, place, command)
        figures.note(f"{number}: {len(held)} files for {late:g} s", f"exit {ended.code}", faults)
    return figures


def wait_until(process: Running, moment: float) -> None:
    while time.monotonic() < moment and not process.has_ended():
        time.sleep(0.02)


def vanish(file: Path) -> None:
    file.unlink(missing_ok=True)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def overwrite(file: Path) -> None:
    draw(3, 77).save(file)


def become_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def become_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def lose_the_folder(file: Path) -> None:
    shutil.rmtree(file.parent, ignore_errors=True)


MOVES: tuple[Callable[[Path], None], ...] = (
    vanish,
    cut,
    overwrite,
    become_pipe,
    become_folder,
    lose_the_folder,
)
CAMPAIGNS = {
    "kills": kills,
    "full-disk": full_disk,
    "side-by-side": side_by_side,
    "moving-files": moving_files,
    "slow-files": slow_files,
}


def drawn(count: int, rng: np.random.Generator) -> Iterator[tuple[int, str]]:
    """`count` commands, each as often as every other, in an order drawn at random."""
    names = list(COMMANDS)
    order = [names[number % len(names)] for number in range(count)]
    yield from enumerate(rng.permutation(order).tolist())


def in_time(trials: Iterator[Any], seconds: float) -> Iterator[Any]:
    """Trials as long as there is time for one more."""
    end = time.monotonic() + seconds
    return itertools.takewhile(lambda _: time.monotonic() < end, trials)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaigns", nargs="+", choices=CAMPAIGNS)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="no trial begins after them")
    given = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as scratch:
        home = world(Path(scratch))
        for name in given.campaigns:
            rng, began = np.random.default_rng(given.seed), cpu_seconds()
            trials = in_time(drawn(given.count, rng), given.minutes * 60)
            figures = CAMPAIGNS[name](trials, rng, home)
            figures.seconds = cpu_seconds() - began
            print(f"{name}: {figures}", *figures.faults[:20], sep="\n", flush=True)
            faults += len(figures.faults)
    return 1 if faults else 0


def cpu_seconds() -> float:
    """Of this process and the commands that have ended."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    sys.exit(main())
