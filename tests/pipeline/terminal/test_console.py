"""What is said while it runs."""

import io

import pytest
from rich.console import Console

from clusterpipe.pipeline.engine.events import StageEvent
from clusterpipe.pipeline.engine.units import duration, size
from clusterpipe.pipeline.terminal.console import Reporter


def reporter(*, quiet: bool = False, terminal: bool = False) -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    return Reporter(quiet, Console(file=out, force_terminal=terminal, width=100)), out


def test_a_log_has_plain_lines_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    told, out = reporter()
    now = iter([0.0, 0.0, 1.0, 6.0, 6.0, 6.0, 8.0, 8.0, 8.0, 8.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    with told.progress("embedding", total=100, unit="images") as advance:
        advance(10)
        advance(20)
        advance(70)
    assert out.getvalue().splitlines() == [
        "embedding: 30 of 100 images, 5/s, 14 s left",
        "embedding: 100 of 100 images, 12/s",
    ]


def test_a_short_wait_says_nothing_in_a_log() -> None:
    told, out = reporter()
    with told.progress("embedding", total=3, unit="images") as advance:
        advance(3)
    assert out.getvalue() == ""


def test_a_terminal_shows_a_bar() -> None:
    told, out = reporter(terminal=True)
    with told.progress("embedding", total=3, unit="images") as advance:
        advance(3)
    assert "embedding" in out.getvalue()
    assert "3/3" in out.getvalue()


def test_quiet_says_nothing() -> None:
    told, out = reporter(quiet=True)
    with told.progress("embedding", total=3, unit="images") as advance:
        advance(3)
    told.tell(StageEvent("embed", "ran", (), 1.0))
    told.note("something")
    assert out.getvalue() == ""


def test_markup_in_reasons_is_shown_as_it_is() -> None:
    told, out = reporter()
    told.tell(StageEvent("embed", "starts", ('embed.backbones ["a"] -> ["b"]',)))
    told.tell(StageEvent("embed", "fresh"))
    assert '["a"] -> ["b"]' in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (80, "80 s"), (120, "2 min"), (9000, "2.5 h"), (400_000, "4.63 days")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_500_000, "1.5 MB"), (2e15, "2e+03 TB")]
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text
