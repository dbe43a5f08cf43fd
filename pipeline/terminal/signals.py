"""Ctrl-C and termination become an error that unwinds the command, wherever they arrive."""

import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from clusterpipe.cache.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PAUSE = 0.01


def raise_interrupted() -> None:
    """From now on Ctrl-C and termination raise Interrupted in the main thread, once.

    Python drops an exception that is raised in a finaliser or in the callback of a weak reference
    (16 of 132 interruptions of a training of small steps came there): such a signal is sent again
    after `PAUSE` seconds. To be called in the main thread.
    """
    for number in SIGNALS:
        signal.signal(number, _interrupted)
    sys.unraisablehook = partial(_send_again, otherwise=sys.unraisablehook)


def _interrupted(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Interrupted(
        "interrupted; what was finished is kept, the same command goes on from there",
        exit_code=128 + number,
    )


def _send_again(dropped: Any, otherwise: Callable[[Any], object]) -> None:
    if not isinstance(dropped.exc_value, Interrupted):
        otherwise(dropped)
        return
    number = dropped.exc_value.exit_code - 128
    signal.signal(number, _interrupted)
    # raised here, it would be dropped again
    main = threading.main_thread().ident
    resend = threading.Timer(PAUSE, signal.pthread_kill, [main, number])
    resend.daemon = True
    resend.start()
