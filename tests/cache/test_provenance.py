"""Cache keys, reasons for a re-run, and digests, against their definitions."""

import json
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterpipe.cache.provenance import (
    Identity,
    Provenance,
    Reason,
    canonical,
    differences,
    digest,
    file_digest,
    installed,
    stored_identity,
)

REFINE = Identity(
    stage="refine",
    stage_version=2,
    schema=1,
    seed=5,
    config={"epochs": 20, "name": "é", "widths": (64, 32)},
    inputs={"embeddings.h5 /clip/features": "ab", "k_estimate.h5 /k": "cd"},
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_the_key_is_blake2b_over_canonical_json() -> None:
    document = {
        "config": {"epochs": 20, "name": "é", "widths": [64, 32]},
        "inputs": {"embeddings.h5 /clip/features": "ab", "k_estimate.h5 /k": "cd"},
        "schema": 1,
        "seed": 5,
        "stage": "refine",
        "stage_version": 2,
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    assert REFINE.key() == blake2b(text.encode(), digest_size=16).hexdigest()


def test_the_key_does_not_depend_on_the_order_of_settings() -> None:
    config = dict(reversed(REFINE.config.items()))
    inputs = dict(reversed(REFINE.inputs.items()))
    assert replace(REFINE, config=config, inputs=inputs).key() == REFINE.key()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stage_version": 3}, "stage version 2 -> 3"),
        ({"schema": 2}, "schema 1 -> 2"),
        ({"seed": 6}, "seed 5 -> 6"),
        ({"config": {**REFINE.config, "epochs": 30}}, "refine.epochs 20 -> 30"),
        ({"config": {**REFINE.config, "name": "ü"}}, 'refine.name "é" -> "ü"'),
        ({"config": {**REFINE.config, "new": True}}, "refine.new unset -> true"),
        ({"inputs": {**REFINE.inputs, "k_estimate.h5 /k": "ef"}}, "k_estimate.h5 /k changed"),
        ({"inputs": {**REFINE.inputs, "words.txt": "gh"}}, "words.txt is read now"),
        (
            {"inputs": {"k_estimate.h5 /k": "cd"}},
            "embeddings.h5 /clip/features is no longer read",
        ),
    ],
)
def test_whatever_can_change_a_result_changes_the_key_and_is_told(
    change: dict[str, Any], reason: str
) -> None:
    now = replace(REFINE, **change)
    assert now.key() != REFINE.key()
    assert [str(found) for found in differences(REFINE, now)] == [reason]


def test_settings_are_named_as_they_are_set() -> None:
    estimate = replace(REFINE, stage="estimate-k", config={"space": "clip"})
    now = replace(estimate, config={"space": "dino"})
    (reason,) = differences(estimate, now)
    assert reason == Reason("setting", "estimate_k.space", "clip", "dino")
    assert str(reason) == 'estimate_k.space "clip" -> "dino"'


def test_equal_identities_give_no_reason() -> None:
    assert differences(REFINE, replace(REFINE)) == []


def test_an_identity_survives_being_stamped() -> None:
    made = Provenance(identity=REFINE, how={"workers": 2}, seconds=1.5, device="cpu")
    stamped = made.attributes()
    assert all(isinstance(value, str | int | float) for value in stamped.values())
    stored = stored_identity(stamped)
    assert stored.key() == REFINE.key() == stamped["key"]
    assert stored.config["widths"] == [64, 32]
    assert json.loads(stamped["how"]) == {"workers": 2}
    assert json.loads(stamped["packages"])["numpy"] == installed("numpy")


def test_how_a_result_was_made_is_no_part_of_its_key() -> None:
    fast = Provenance(identity=REFINE, how={"workers": 9}, seconds=0.1, device="cuda")
    slow = Provenance(identity=REFINE, how={"workers": 1}, seconds=99.0, device="cpu")
    assert fast.attributes()["key"] == slow.attributes()["key"]


@pytest.mark.parametrize("missing", ["stage", "stage_version", "seed", "config", "inputs"])
def test_what_was_not_stamped_has_no_identity(missing: str) -> None:
    stamped = Provenance(identity=REFINE, how={}, seconds=0, device="cpu").attributes()
    del stamped[missing]
    with pytest.raises(KeyError):
        stored_identity(stamped)


@given(json_values)
def test_canonical_json_is_compact_json_whatever_the_order(value: Any) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(_reversed(value)) == text


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 20) + 7])
def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    expected = blake2b(data, digest_size=16).hexdigest()
    assert file_digest(tmp_path / "file") == digest(data) == expected


def test_a_package_that_is_absent_has_no_version() -> None:
    assert installed("no-such-package-at-all") is None
