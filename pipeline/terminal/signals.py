"""Ctrl-C and termination become an error that unwinds the command, wherever they arrive."""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from clusterpipe.cache.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PAUSE = 0.01
GRACE = 2.5  # seconds
_resent = threading.Semaphore(0)


def raise_interrupted() -> None:
    """From now on Ctrl-C and termination raise Interrupted in the main thread, once.

    Python drops an exception that is raised in a finaliser or in the callback of a weak reference
    (16 of 132 interruptions of a training of small steps came there): such a signal is sent again
    after `PAUSE` seconds. To be called in the main thread.
    """
    for number in SIGNALS:
        signal.signal(number, _interrupted)
    sys.unraisablehook = partial(_send_again, otherwise=sys.unraisablehook)


def end_in_time() -> None:
    """From now on the process ends at most `GRACE` seconds after Ctrl-C or termination.

    A thread watches: the main thread may be blocked in a read of a drive that is gone, busy within
    a library, or waiting for threads that are. What is on disk is whole at any time. A second
    signal ends the process at once. To be called in the main thread.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), daemon=True, name="signals").start()


def _watch(signals: int) -> None:
    while (number := os.read(signals, 1)[0]) not in SIGNALS:
        pass  # those of others wake us, too
    end = time.monotonic() + GRACE
    while (left := end - time.monotonic()) > 0:
        if select.select([signals], [], [], left)[0]:
            again = os.read(signals, 1)[0] in SIGNALS
            if again and not _resent.acquire(blocking=False):
                break
    with suppress(OSError):
        os.write(2, b"clusterpipe: interrupted; what was finished is kept\n")
    os._exit(128 + number)


def _interrupted(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, _again)
    raise Interrupted(
        "interrupted; what was finished is kept, the same command goes on from there",
        exit_code=128 + number,
    )


def _again(number: int, frame: FrameType | None) -> None:
    """The second signal while the first unwinds the command: `_watch` ends the process."""


def _send_again(dropped: Any, otherwise: Callable[[Any], object]) -> None:
    if not isinstance(dropped.exc_value, Interrupted):
        otherwise(dropped)
        return
    number = dropped.exc_value.exit_code - 128
    signal.signal(number, _interrupted)
    # raised here, it would be dropped again
    main = threading.main_thread().ident
    _resent.release()
    resend = threading.Timer(PAUSE, signal.pthread_kill, [main, number])
    resend.daemon = True
    resend.start()
