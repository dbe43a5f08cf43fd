"""A signal stops the command wherever it arrives, also where Python drops exceptions."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys, time, weakref
from clusterpipe.cache.errors import Interrupted
from clusterpipe.pipeline.terminal.signals import raise_interrupted

class Thing:
    {finaliser}

def arrive(*_):
    signal.raise_signal({number})
    for _ in range(100):  # the handler runs here
        pass

raise_interrupted()
try:
    {arrival}
    time.sleep(20)
except Interrupted as error:
    sys.exit(error.exit_code)
"""
ARRIVALS = {
    "here": ("pass", "arrive()"),
    "in the callback of a weak reference": (
        "pass",
        "kept = weakref.ref(thing := Thing(), arrive); del thing",
    ),
    "in a finaliser": ("def __del__(self): arrive()", "Thing()"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ARRIVALS)
def test_no_signal_is_lost(where: str, number: signal.Signals) -> None:
    finaliser, arrival = ARRIVALS[where]
    program = PROGRAM.format(finaliser=finaliser, arrival=arrival, number=int(number))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + number, "")


def test_other_errors_in_a_finaliser_are_shown_as_ever() -> None:
    program = PROGRAM.format(
        finaliser="def __del__(self): 1 / 0", arrival="Thing(); sys.exit(3)", number=2
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 3
    assert "ZeroDivisionError" in done.stderr
