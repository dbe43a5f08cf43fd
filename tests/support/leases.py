"""Files that do not answer: opening one waits until its lease is given up, as on a slow drive.

The kernel itself lets the other process wait (Linux; after 45 s it takes the lease away).
"""

import fcntl
import os
import signal
from pathlib import Path


class Held:
    """A file whose next opening by another process waits until `give_up`."""

    def __init__(self, file: Path) -> None:
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # that somebody waits
        self._handle = os.open(file, os.O_RDWR)
        fcntl.fcntl(self._handle, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def give_up(self) -> None:
        os.close(self._handle)
