"""The program in forks of a process that has loaded everything: a command starts in a moment.

Each command is the whole command line in a process of its own, with a folder, an environment, an
exit code, signals and limits of its own. Spared are the seconds in which torch and its like load.
`program` starts this script and asks it for commands through a socket.
"""

import atexit
import gc
import io
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any

import clusterpipe.cache
import clusterpipe.stages
from clusterpipe.cache.errors import ClusterpipeError
from clusterpipe.pipeline import cli

LIMIT = 300.0  # seconds: what takes longer hangs
STREAMS = ("in", "out", "err")


def serve(place: str) -> None:
    """Answers requests at the socket `place` until stdin ends, as it does with who started this."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        warm_up()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while listener in select.select([listener, 0], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                keep(connection)
            connection.close()


def keep(connection: socket.socket) -> None:
    """Starts one command, and tells its process and in the end how it ended. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection, connection.makefile("rb") as asked:
        request = json.loads(asked.readline())
        pid = os.fork()
        if pid:
            tell(connection, pid)
            tell(connection, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            os._exit(0)
    os._exit(ended(request))


def tell(connection: socket.socket, number: int) -> None:
    connection.sendall(number.to_bytes(4, "big", signed=True))


def ended(request: dict[str, Any]) -> int:
    """Exit code of the command, once it has done what Python does at the end of a process, but for
    taking apart what is loaded, which takes longer than most commands."""
    become(request)
    try:
        cli.main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:  # noqa: BLE001 - as Python does
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    _limit_files(resource.RLIM_INFINITY)  # of what watches the tests
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    return code


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def become(request: dict[str, Any]) -> None:
    """Makes this process one that was started for the command."""
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    os.chdir(request["cwd"])
    for number, stream in enumerate(STREAMS):
        handle = os.open(request[stream], os.O_RDWR if number else os.O_RDONLY)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(request["env"])
    if request["largest_file"]:
        _limit_files(request["largest_file"])
    sys.argv = request["arguments"]


def warm_up() -> None:
    """Loads all of clusterpipe and what its libraries load when they are first used."""
    for package in (clusterpipe.cache, clusterpipe.pipeline, clusterpipe.stages):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "foreign_reader")):
                import_module(module.name)
    _use_once()
    gc.freeze()


def _use_once() -> None:
    import sklearn.cluster
    import torch
    from matplotlib.figure import Figure
    from PIL import Image

    torch.set_num_threads(1)
    sklearn.cluster.KMeans(1, n_init=1).fit([[0.0], [1.0]])
    torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).step()
    figure = Figure(layout="constrained")
    figure.add_subplot().set_title("$k$")
    figure.savefig(io.BytesIO())
    Image.init()
    with suppress(ClusterpipeError):
        cli.app(["inspect", "absent.h5"])


if __name__ == "__main__":
    serve(sys.argv[1])
