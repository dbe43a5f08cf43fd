"""The program run in a fork of this process, which has loaded everything: a command takes a moment.

The real command line, with the process, exit code, signals and limits of its own.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterpipe.cache import foreign
from clusterpipe.pipeline import cli

LIMIT = 300.0  # seconds: what takes longer hangs


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or less the signal; what it printed; its seconds."""

    code: int
    text: str
    seconds: float

    @property
    def fault(self) -> str:
        """What no disturbance excuses: an unexpected error, a crash, or no end."""
        if self.code == -signal.SIGALRM:
            return f"did not end in {self.seconds:.0f} s"
        if self.code < 0 or self.code == 1 or "Traceback" in self.text:
            return f"exit {self.code}: {self.text.strip()[-300:]}"
        return ""


def warm_up() -> None:
    """Loads what the commands need, so that each does not load it anew."""
    import faiss  # noqa: F401
    import sklearn.cluster
    import timm  # noqa: F401
    import torch

    import clusterpipe.pipeline.report
    import clusterpipe.pipeline.results.plots
    import clusterpipe.stages.backbones.timm_model  # noqa: F401

    torch.set_num_threads(1)
    sklearn.cluster.KMeans(1, n_init=1).fit([[0.0], [1.0]])


class Forked:
    """A running command. `output` is where it prints."""

    def __init__(
        self, arguments: Sequence[Any], *, cwd: Path, output: Path, largest_file: int = 0
    ) -> None:
        self.output, self.began = output, time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become([*map(str, arguments)], cwd, output, largest_file)

    def kill(self) -> bool:
        """Kills it; False if it had ended before."""
        if self.has_ended():
            return False
        os.kill(self.pid, signal.SIGKILL)
        return True

    def has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        text = self.output.read_text(errors="replace")
        return Ended(os.waitstatus_to_exitcode(status), text, time.monotonic() - self.began)


def run(arguments: Sequence[Any], *, cwd: Path, largest_file: int = 0) -> Ended:
    """Runs a command to its end."""
    output = cwd / f"output{os.getpid()}"
    return Forked(arguments, cwd=cwd, output=output, largest_file=largest_file).wait()


def _become(arguments: list[str], cwd: Path, output: Path, largest_file: int) -> None:
    """The command, in the fork. Does not return."""
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        os.chdir(cwd)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        os.environ |= {"NO_COLOR": "1", "COLUMNS": "200"}
        if largest_file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        sys.argv = ["clusterpipe", *arguments]
        cli.main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    finally:
        with suppress(Exception):
            foreign.close()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
