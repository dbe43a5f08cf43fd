"""Every head by the one protocol: it labels any row the same, alone, among others or from disk."""

from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import brief
import numpy as np
import pytest
from records import provenance
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache import artifact
from clusterpipe.cache.errors import DamagedArtifact, UsageError
from clusterpipe.cache.schema import Assignment, Assignments
from clusterpipe.stages import heads
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.declaration import check
from clusterpipe.stages.heads import ALL, BLOCK, FINISHING, HEADS, TABLES, Training, load
from clusterpipe.stages.heads.consensus import Consensus
from clusterpipe.stages.heads.spectral import Spectral
from clusterpipe.stages.heads.text_aided import TextAided, TrainedTextAided

K = 6
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {} for name in HEADS},
    "turtle": {"heads": (brief.Turtle(),)},
    "scp": {"heads": (brief.Scp(alpha=1.0),)},
    "temi": {"heads": (brief.Temi(),)},
    "consensus": {"heads": (Consensus(candidates=("kmeans", "spectral")),)},
    "spectral finished": {"finish": "self-label"},
    "spectral by landmarks": {"heads": (brief.Spectral(exact_up_to=0),)},
}
EACH = pytest.mark.parametrize("name", SETTINGS)


def overlapping(n: int = 700) -> np.ndarray:
    """Rows around six directions that run into one another, every tenth twice."""
    rng = np.random.default_rng(0)
    rows = 2 * np.eye(K, 16)[np.arange(n) % K] + rng.normal(size=(n, 16)) + 1
    rows[1::10] = rows[::10]
    return np.asarray(rows, np.float32)


def fitted(name: str, rows: np.ndarray) -> Assignment:
    method = name.partition(" ")[0]
    config = AssignConfig(seeds=2, restarts=1, methods=(method,), **SETTINGS[name])
    return assign(rows, K, config).methods[method]


@cache
def assigned(name: str) -> Assignment:
    return fitted(name, overlapping())


@pytest.mark.slow
@EACH
def test_labels_and_probabilities_of_the_run_are_those_of_its_head(name: str) -> None:
    found = assigned(name)
    soft = load(found).soft(overlapping())
    assert soft.shape == (700, K)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.label, soft.argmax(axis=1))
    np.testing.assert_allclose(found.probability, soft.max(axis=1), rtol=1e-6)


@pytest.mark.slow
@EACH
def test_a_row_has_the_same_probabilities_alone_and_in_any_company(name: str) -> None:
    rows, head = overlapping(), load(assigned(name))
    soft = head.soft(rows)
    alone = np.concatenate([head.soft(row[None]) for row in rows[:40]])
    order = np.random.default_rng(1).permutation(np.arange(3 * 700) % 700)
    assert len(order) > BLOCK
    for found, expected in ((alone, soft[:40]), (head.soft(rows[order]), soft[order])):
        np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@EACH
def test_new_images_are_labelled_like_those_around_them(name: str) -> None:
    rng, truth = np.random.default_rng(2), np.arange(1200) % K
    rows = np.asarray(3 * np.eye(K, 16)[truth] + 0.5 * rng.normal(size=(1200, 16)), np.float32)
    head = load(fitted(name, rows[:600]))
    assert adjusted_rand_score(truth[600:], head.soft(rows[600:]).argmax(axis=1)) == 1


@EACH
def test_what_comes_back_from_disk_assigns_the_same(name: str, tmp_path: Path) -> None:
    found = assigned(name)
    path = tmp_path / "assignments.h5"
    record = Assignments(chosen="it", methods={"it": found})
    artifact.write(path, record, provenance(schema=Assignments.schema))
    stored = artifact.read(path, Assignments).methods["it"]
    rows = overlapping()
    np.testing.assert_array_equal(load(stored).soft(rows), load(found).soft(rows))
    assert all(isinstance(array, np.ndarray) for array in found.parameters.values())


@EACH
def test_half_precision_and_other_memory_layouts_are_taken(name: str) -> None:
    head, rows = load(assigned(name)), overlapping()
    half = head.soft(rows.astype(np.float16))
    np.testing.assert_array_equal(half, head.soft(rows.astype(np.float16).astype(np.float32)))
    np.testing.assert_array_equal(head.soft(np.asfortranarray(rows)), head.soft(rows))


@EACH
def test_no_rows_give_no_probabilities(name: str) -> None:
    assert load(assigned(name)).soft(overlapping()[:0]).shape == (0, K)


@EACH
def test_refuses_other_features_and_what_is_no_number(name: str) -> None:
    head, rows = load(assigned(name)), overlapping()
    with pytest.raises(UsageError, match="fitted on features of width 16, not 15"):
        head.soft(rows[:, 1:])
    rows[3, 2] = np.nan
    with pytest.raises(UsageError, match="not numbers"):
        head.soft(rows)


def test_refuses_a_kind_it_does_not_know_and_parameters_that_do_not_fit() -> None:
    found = assigned("spectral")
    with pytest.raises(DamagedArtifact, match="'oracle' that is not known here"):
        load(replace(found, head="oracle"))
    with pytest.raises(DamagedArtifact, match=r"lacks what spectral needs .*landmark"):
        load(replace(found, parameters={}))


@pytest.mark.parametrize("name", {**ALL, **FINISHING})
def test_settings_of_a_head_are_a_table_of_assign_or_it_has_none(name: str) -> None:
    head = {**ALL, **FINISHING}[name]
    table = heads.table_of(head)
    assert (table in TABLES) == bool(fields(head))
    assert heads.method(name) == head() == check(head())
    assert heads.method(f"{name}:both", AssignConfig().heads) == head()


def test_a_head_may_stand_among_the_methods_with_its_settings() -> None:
    config = AssignConfig(methods=(brief.Scp(alpha=3), "spectral"), heads=(Spectral(neighbours=9),))
    assert config.methods == ("scp", "spectral")
    assert heads.method("scp", config.heads) == brief.Scp(alpha=3)
    assert heads.method("spectral", config.heads).neighbours == 9  # type: ignore[attr-defined]
    assert replace(config, methods=(Spectral(neighbours=4),)).heads["spectral"].neighbours == 4
    assert heads.method("tac-trained", AssignConfig(heads=(TextAided("w"),)).heads) == (
        TrainedTextAided("w")
    )
    with pytest.raises(UsageError, match="is no head with settings"):
        AssignConfig(heads=(3,))  # type: ignore[arg-type]


def test_training_rows_come_apart_into_their_spaces() -> None:
    rows = overlapping(12)
    first, second = Training(rows, (5, 11)).spaces
    np.testing.assert_array_equal(np.hstack([first, second]), rows)
    assert (first.shape[1], second.shape[1]) == (5, 11)
    assert Training.of(rows).widths == (16,)
