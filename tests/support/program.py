"""The real program, and small generated folders to run it on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def action(self, stage: str) -> str:
        """What the last line on stderr about `stage` says was done with it."""
        lines = [line for line in self.err.splitlines() if line.startswith(f"{stage} ")]
        return lines[-1].split()[1] if lines else "nothing"


Command = Callable[..., Done]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1", **more}


def run(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
    """Runs the program to its end."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


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
