"""The judge on two tiny sets: cases of every kind, a run that goes on, and tables that are true."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import judge
from judged_cases import (
    Case,
    derived_cases,
    drawn_cases,
    is_of_two,
    random_cases,
    rows_of,
)

from clusterpipe.stages.estimate_k import EstimateKConfig

EACH, SETTINGS = 12, EstimateKConfig()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of the same width, of six and of four kinds."""
    folder = tmp_path_factory.mktemp("sets")
    for seed, kinds in enumerate((6, 4)):
        random = np.random.default_rng(seed)
        label = np.repeat(np.arange(kinds), EACH)
        rows = random.normal(size=(kinds, 16))[label] + 0.1 * random.normal(size=(len(label), 16))
        np.savez(folder / f"kinds{kinds}.npz", features=rows, labels=label)
    return folder


def test_every_derived_collection_is_of_the_kind_it_is_named_for(folder: Path) -> None:
    drawn = {case.name: rows_of(case, folder) for case in derived_cases(folder)}
    sizes = {name: len(rows.label) for name, rows in drawn.items()}
    kinds = {name: len(np.unique(rows.label[rows.label >= 0])) for name, rows in drawn.items()}
    assert (sizes["whole:kinds6:0"], kinds["whole:kinds6:0"]) == (72, 6)
    assert (sizes["quarter:kinds6:0"], sizes["half:kinds6:1"]) == (18, 36)
    assert kinds["half of the classes:kinds6:0"] == 3
    assert (kinds["union:kinds6:0"], sizes["union:kinds6:0"]) == (10, 120)
    assert (kinds["one class:kinds4:0"], kinds["two classes:kinds4:1"]) == (1, 2)
    assert (sizes["fifty of 5:kinds6:0"], kinds["fifty of 5:kinds6:0"]) == (50, 5)
    assert sizes["near-copies:kinds6:0"] == 86
    assert sorted(np.bincount(drawn["zipf:kinds6:0"].label)) == [5, 5, 5, 6, 7, 12]
    foreign = drawn["foreign:kinds6:0"]
    assert (sizes["foreign:kinds6:0"], foreign.own) == (80, 6)
    assert np.bincount(foreign.label[foreign.label >= 0])[6:].min(initial=5) >= 5


def test_a_case_is_the_same_every_time_and_another_draw_is_another(folder: Path) -> None:
    first, again, other = (rows_of(Case("half", "kinds6", draw), folder) for draw in (0, 0, 1))
    np.testing.assert_array_equal(first.features, again.features)
    assert not np.array_equal(first.features, other.features)


def test_random_collections_hold_some_of_some_classes(folder: Path) -> None:
    cases = [*random_cases(folder, 8)]
    drawn = [rows_of(case, folder) for case in cases]
    assert len({rows.features.tobytes() for rows in drawn}) == len(cases) == 16
    for case, rows in zip(cases, drawn, strict=True):
        kinds, size = np.unique(rows.label, return_counts=True)
        most = 10 if is_of_two(case) else int(case.of.removeprefix("kinds"))
        assert 2 <= len(kinds) <= most
        assert size.min() >= 2
        assert size.max() <= EACH
    assert {case.draw for case in cases if is_of_two(case)} == {3, 7}
    assert judge.sets_of(cases[3], folder) == ["kinds4", "kinds6"]


def test_drawn_cases_have_as_many_kinds_as_they_say(folder: Path) -> None:
    cases = [case for case in drawn_cases(large=False) if case.of.startswith(("3,", "2000"))]
    assert {case.kind for case in cases} == {"synthetic", "gaussian noise", "uniform noise"}
    for case in cases:
        assert len(np.unique(rows_of(case, folder).label)) == (3 if case.kind == "synthetic" else 1)


def test_a_case_is_counted_once_and_again_when_settings_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, options = Case("whole", "kinds6"), {"folder": folder, "out": tmp_path}
    options |= {"methods": [judge.OURS], "end_to_end": False}
    assert "6 clusters; clusterpipe" in judge.judged(case, **options)
    found = json.loads(judge.file_of(case, tmp_path).read_text())
    answer = found["found"][judge.OURS]
    assert (found["n"], found["k"]) == (72, 6)
    assert answer["low"] <= answer["k"] <= answer["high"]
    assert judge.judged(case, **options) == ""
    monkeypatch.setattr(judge, "EstimateKConfig", lambda: replace(SETTINGS, sample=100))
    assert judge.judged(case, **options) != ""


def test_tables_say_how_near_and_how_wide(capsys: pytest.CaptureFixture[str]) -> None:
    """One count right, one double the truth, whose interval misses it."""
    answers = [{"k": 10, "low": 5, "high": 20}, {"k": 20, "low": 18, "high": 22}]
    records = [
        {"kind": "whole", "of": "set", "draw": 0, "n": 100, "k": 10, "found": {judge.OURS: answer}}
        for answer in answers
    ]
    found = judge.outcomes(records)
    judge.table_of_kinds(found, [judge.OURS])
    judge.table_of_widths(found)
    shown = capsys.readouterr().out
    assert "| whole | 2 | 0.35 | 0.35 | 50% | 2.6 |" in shown
    assert "| whole |  | 0 of 1 |  | 1 of 1 |  |  |" in shown
