"""The real program, and small generated folders to run it on."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

PROGRAM = Path(sys.executable).with_name("clusterpipe")
ARTIFACTS = (
    "embeddings",
    "k_estimate",
    "refined",
    "assignments",
    "captions",
    "metrics",
    "curation",
    "levels",
)


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, or less the signal; stdout, stderr; seconds."""

    code: int
    out: str
    err: str
    seconds: float = 0.0

    def json(self) -> Any:
        return json.loads(self.out)

    def action(self, stage: str) -> str:
        """What the last line on stderr about `stage` says was done with it."""
        lines = [line for line in self.err.splitlines() if line.startswith(f"{stage} ")]
        return lines[-1].split()[1] if lines else "nothing"


Command = Callable[..., Done]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1", **more}


def run(*arguments: Any, cwd: Path, env: Mapping[str, str] | None = None, **more: Any) -> Done:
    """Runs the program to its end, in a fork of a process that has loaded it: see `served`."""
    return Running(*arguments, cwd=cwd, env=env, **more).wait()


def run_anew(*arguments: Any, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
    """The same in a new process, which takes seconds: for what an interpreter does first."""
    began = time.monotonic()
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


class Running:
    """A running command; no file of it may grow beyond `largest_file` bytes, if that is given."""

    def __init__(
        self,
        *arguments: Any,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        largest_file: int = 0,
    ) -> None:
        self.began = time.monotonic()
        place, streams = _server().room()
        self._streams = streams
        request = {
            "arguments": [str(PROGRAM), *map(str, arguments)],
            "cwd": str(cwd),
            "env": environment(**(env or {})),
            "largest_file": largest_file,
            "in": os.devnull,
            **{name: str(path) for name, path in streams.items()},
        }
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(place)
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self.pid = self._told()

    def _told(self) -> int:
        return int.from_bytes(self._connection.recv(4, socket.MSG_WAITALL), "big", signed=True)

    def has_ended(self) -> bool:
        return bool(select.select([self._connection], [], [], 0)[0])

    def send_signal(self, number: signal.Signals) -> None:
        if not self.has_ended():
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """Kills it; False if it had ended before."""
        alive = not self.has_ended()
        self.send_signal(signal.SIGKILL)
        return alive

    def wait(self) -> Done:
        with self._connection:
            code = self._told()
        out, err = (path.read_text(errors="replace") for path in self._streams.values())
        for path in self._streams.values():
            path.unlink()
        return Done(code, out, err, time.monotonic() - self.began)


class _Server:
    """The process that `served` is, which ends with this one."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._number = count()
        self._place = str(Path(self._folder.name) / "s")
        script = Path(__file__).with_name("served.py")
        self._process = subprocess.Popen(
            [sys.executable, script, self._place],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def room(self) -> tuple[str, dict[str, Path]]:
        """The socket, and empty files for what a command prints."""
        folder = Path(self._folder.name)
        number = next(self._number)
        streams = {name: folder / f"{number}.{name}" for name in ("out", "err")}
        for path in streams.values():
            path.touch()
        return self._place, streams


@cache
def _server() -> _Server:
    return _Server()


def draw(kind: int, seed: int, size: int = 64) -> Image.Image:
    """A picture of one of four kinds: noise, stripes, a disc, a gradient; each with variation."""
    rng = np.random.default_rng([kind, seed])
    y, x = np.mgrid[:size, :size]
    planes = {
        0: rng.random((size, size)),
        1: np.sin((x + rng.integers(20)) / (1.5 + rng.random())) / 2 + 0.5,
        2: ((x - size / 2) ** 2 + (y - size / 2) ** 2 < (10 + 15 * rng.random()) ** 2) * 1.0,
        3: (x * rng.random() + y) / (2 * size),
    }
    tint = np.roll([1.0, 0.6, 0.3], kind) * (0.8 + 0.2 * rng.random())
    pixels = planes[kind % 4][..., None] * tint * 255
    return Image.fromarray(pixels.astype(np.uint8))


def paint(folder: Path, per_kind: int, kinds: int = 3, start: int = 0) -> Path:
    """A folder with one sub-folder of pictures per kind."""
    for kind in range(kinds):
        (folder / f"kind{kind}").mkdir(parents=True, exist_ok=True)
        for number in range(start, start + per_kind):
            draw(kind, number).save(folder / f"kind{kind}" / f"{number:03d}.png")
    return folder


def content_ids(run: Path) -> dict[str, dict[str, str]]:
    """Content id of every dataset of every artifact of a run."""
    found: dict[str, dict[str, str]] = {}
    for name in ARTIFACTS:
        path = run / f"{name}.h5"
        if path.exists():
            with h5py.File(path) as file:
                ids: dict[str, str] = {}
                file.visititems(
                    lambda place, node, ids=ids: ids.update(
                        {place: str(node.attrs["content_id"])} if "content_id" in node.attrs else {}
                    )
                )
                found[name] = ids
    return found
