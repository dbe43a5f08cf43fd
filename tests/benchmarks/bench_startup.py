"""How long `--help` and `status` take, against starting Python and importing numpy.

Run: python tests/benchmarks/bench_startup.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

PROGRAM = str(Path(sys.executable).with_name("clusterpipe"))
COMMANDS = {
    "python, import numpy": [sys.executable, "-c", "import numpy"],
    "clusterpipe --help": [PROGRAM, "--help"],
    "clusterpipe refine --help": [PROGRAM, "refine", "--help"],
    "clusterpipe status": [PROGRAM, "status"],
}


def seconds(command: list[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [PROGRAM, "run-all", "--limit", "40", "--until", "embed"],
            cwd=folder,
            capture_output=True,
            check=True,
        )
        times = {
            name: median(seconds(command, folder) for _ in range(7))
            for name, command in COMMANDS.items()
        }
    reference = next(iter(times.values()))
    for name, value in times.items():
        print(f"{name:28} {value * 1000:7.0f} ms  {value / reference:5.1f} x")


if __name__ == "__main__":
    main()
