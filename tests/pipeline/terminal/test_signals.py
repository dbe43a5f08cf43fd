"""A signal stops the command wherever it arrives, also where Python drops exceptions."""

import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

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


BLOCKED = """
import os, sys, threading, time
from clusterpipe.cache.errors import Interrupted
from clusterpipe.pipeline.terminal.signals import end_in_time, raise_interrupted

raise_interrupted()
end_in_time()
reading, writing = os.pipe()
blocked = threading.Thread(target=os.read, args=(reading, 1), daemon=False)
blocked.start()
print("ready", flush=True)
try:
    time.sleep(60)
except Interrupted as error:
    {unwinding}
    sys.exit(error.exit_code)
"""


def ended(program: str, *signals: signal.Signals, apart: float = 0.3) -> tuple[int, float]:
    """The exit code of a program that gets these signals, and the seconds from the first one."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(apart)
    code = process.wait(30)
    process.stdout.close()
    return code, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("unwinding", ["pass", "time.sleep(60)"])
def test_what_blocks_does_not_keep_a_signal_waiting(unwinding: str, number: signal.Signals) -> None:
    code, seconds = ended(BLOCKED.format(unwinding=unwinding), number)
    assert code == 128 + number
    assert seconds < 4  # 2.5, and what starting a thread takes here


def test_a_second_signal_ends_at_once() -> None:
    program = BLOCKED.format(unwinding="time.sleep(60)")
    code, seconds = ended(program, signal.SIGINT, signal.SIGINT)
    assert code == 130
    assert seconds < 2
