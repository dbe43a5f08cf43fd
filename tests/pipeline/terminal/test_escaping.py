"""Names that would control the terminal are shown as what they are, wherever they are printed."""

import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from clusterpipe.cache.escaping import escaped
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline import Config, run_stage
from clusterpipe.pipeline.cli import main
from clusterpipe.pipeline.engine.config import override
from clusterpipe.pipeline.engine.events import StageEvent
from clusterpipe.pipeline.results import compare as comparing
from clusterpipe.pipeline.results import search as searching
from clusterpipe.pipeline.results.reading import read_results
from clusterpipe.pipeline.results.search import SearchOptions
from clusterpipe.pipeline.terminal.answers import print_answers
from clusterpipe.pipeline.terminal.comparison import print_comparison
from clusterpipe.pipeline.terminal.console import Reporter
from clusterpipe.pipeline.terminal.escaping import message, shown
from clusterpipe.pipeline.terminal.inspection import print_inspection
from clusterpipe.pipeline.terminal.summary import print_outcome

CLEAR = "\x1b[2J"  # clears the screen of a terminal that obeys


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("été 鱼 🐟 [bold] a\\b.jpg", "été 鱼 🐟 [bold] a\\b.jpg"),
        ("a\x1b[31mb\x07\x9bc\x7f", r"a\x1b[31mb\x07\x9bc\x7f"),
        ("one\ntwo\r\tthree\u2028four", r"one\ntwo\r\tthree\u2028four"),
        ("gpj.\u202eexe\u2066", r"gpj.\u202eexe\u2066"),
        ("b\udcffd", r"b\udcffd"),
        ("👩\u200d👧 نمی\u200cخواهم", "👩\u200d👧 نمی\u200cخواهم"),
    ],
)
def test_what_controls_is_written_out_and_all_else_stays(name: str, expected: str) -> None:
    assert escaped(name) == expected
    assert shown(name, name).plain == f"{expected}\n{expected}"


def test_messages_keep_their_lines() -> None:
    assert message("gone\x1b:\n  do this") == "gone\\x1b:\n  do this"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Config]:
    """Settings of features whose ids and class names clear the screen, for 3 and for 4 clusters."""
    folder = tmp_path_factory.mktemp("hostile")
    label = np.arange(60) % 3
    rows = 5 * np.eye(3, 8)[label] + np.random.default_rng(0).normal(size=(60, 8))
    ids = np.array([f"{CLEAR}{i}\nb" for i in range(60)])
    names = np.array([f"{CLEAR}{name}" for name in "abc"])
    np.savez(folder / "rows.npz", features=rows, ids=ids, labels=label, class_names=names)
    base = override(
        Config(), [f"source.path='{folder / 'rows.npz'}'", "assign.features=embeddings"]
    )
    return override(base, ["assign.k=3"]), override(base, ["assign.k=4"])


def test_no_name_reaches_the_terminal_as_it_is(
    hostile: tuple[Config, Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [RunDirectory(tmp_path / f"{CLEAR}{k}") for k in (3, 4)]
    for config, run in zip(hostile, runs, strict=True):
        run_stage("embed", config, run.folder)
        done = run_stage("assign", config, run.folder)
        print_outcome(done, config, as_json=False, verbose=False)
    _says(capsys, r"\x1b[2Ja 100%", r"artifacts  ")
    found = searching.search(runs[0], hostile[0], ["7"], SearchOptions(top=3, drawn=False))
    print_answers(runs[0], found, as_json=False)
    _says(capsys, r"\x1b[2J7\nb  the query")
    results = [read_results(r, c.source) for r, c in zip(runs, hostile, strict=True)]
    print_comparison(comparing.compare(*results, hostile), most=3, as_json=False)
    _says(capsys, r"\x1b[2J")
    print_inspection(runs[0].folder / "embeddings.h5", as_json=False)
    _says(capsys, r"\x1b[2J0\nb, \x1b[2J1\nb")


def test_neither_do_errors_and_events(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["clusterpipe", "run-all", f"no{CLEAR}such"])
    with pytest.raises(SystemExit):
        main()
    reporter = Reporter(console=Console(stderr=True, width=100))
    reporter.tell(StageEvent("embed", "starts", (f"{CLEAR}.jpg changed",)))
    reporter.tell(StageEvent("embed", "fresh", (f"{CLEAR}.jpg",)))
    _says(capsys, r"no\x1b[2Jsuch", r"embed: \x1b[2J.jpg changed")


def _says(capsys: pytest.CaptureFixture[str], *texts: str) -> None:
    """Fails unless what was printed has no control character but line ends, and all texts."""
    printed = "".join(capsys.readouterr())
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed) == []
    for text in texts:
        assert text in printed
