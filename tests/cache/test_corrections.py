"""The log of corrections: read back as written, a bad line is refused, a kill loses nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clusterpipe.cache import corrections
from clusterpipe.cache.corrections import (
    KINDS,
    Act,
    BadLine,
    NamedCluster,
    in_force,
    parsed,
    written,
)
from clusterpipe.cache.errors import DamagedArtifact

CLUSTER = NamedCluster(images={"a.jpg": "01", "鱼.jpg": "02"}, size=9, number=3)
TIME = "2026-11-30T17:00:00+00:00"
RENAME = Act(kind="rename", clusters=(CLUSTER,), name="helicopter", time=TIME)


def act_of(kind: str) -> Act:
    """The smallest act of a kind."""
    shape = KINDS[kind]
    needed = {"name": "x", "into": 2, "text": "x", "undoes": 1}
    images = {f"{i}.jpg": f"{i:02d}" for i in range(int(shape.images[0]))}
    further = {shape.needs: needed[shape.needs]} if shape.needs else {}
    return Act(kind=kind, clusters=(CLUSTER,) * int(shape.clusters[0]), images=images, **further)


@pytest.mark.parametrize("kind", KINDS)
def test_an_act_is_read_back_as_it_was_written(kind: str) -> None:
    act = act_of(kind)
    assert parsed(written(act), before=1) == [act]


def test_a_line_is_plain_json_with_images_by_id_and_digest() -> None:
    line = json.loads(written(RENAME))
    assert line["act"] == "rename"
    assert line["clusters"][0]["images"] == {"a.jpg": "01", "鱼.jpg": "02"}
    assert "into" not in line


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ('{"act": "explode"}', "'act' is one of rename"),
        ('{"act": "note", "text": "x", "colour": "red"}', "no field 'colour'"),
        ('{"act": "note", "text": 3}', "'text' is a text, not 3"),
        ('{"act": "note"}', "note needs 'text'"),
        ('{"act": "note", "text": "x", "name": "y"}', "note takes no 'name'"),
        ('{"act": "star"}', "at least 1 images, not 0"),
        ('{"act": "star", "images": {"a": 1}}', "a digest, a text, for each id"),
        ('{"act": "merge", "clusters": [{"images": {"a": "01"}}]}', "at least 2 clusters, not 1"),
        ('{"act": "rename", "name": "x", "clusters": [{"images": {}}]}', "at least one"),
        ('{"act": "split", "into": 1, "clusters": [{"images": {"a": "1"}}]}', "at least 2, not 1"),
        ('{"act": "undo", "undoes": 2}', "no line 2 before it"),
        ('{"act": "note", "text": "x", "time": "noon"}', "no time of ISO 8601: 'noon'"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_reason(line: str, reason: str) -> None:
    with pytest.raises(BadLine, match=reason) as raised:
        parsed(f"{written(RENAME)}\n{line}\n")
    assert raised.value.number == 2


def test_a_log_that_was_edited_into_something_else_is_named_with_the_line(tmp_path: Path) -> None:
    log = tmp_path / "corrections.jsonl"
    log.write_text(f"{written(RENAME)}\noops\n")
    with pytest.raises(DamagedArtifact, match=r"corrections\.jsonl, line 2: it is no JSON"):
        corrections.append(log, [RENAME])
    assert log.read_text() == f"{written(RENAME)}\noops\n"


def test_lines_are_added_and_those_before_stay_as_they_are_byte_by_byte(tmp_path: Path) -> None:
    log = tmp_path / "corrections.jsonl"
    by_hand = '{"text": "by hand",   "act": "note"}'
    log.write_text(by_hand)
    corrections.append(log, [RENAME, act_of("star")])
    assert log.read_text() == f"{by_hand}\n{written(RENAME)}\n{written(act_of('star'))}\n"
    assert len(corrections.read_log(log)) == 3


def test_there_are_no_corrections_without_a_log(tmp_path: Path) -> None:
    assert corrections.read_log(tmp_path / "corrections.jsonl") == corrections.read_log(None) == []


def test_what_is_undone_does_not_count_and_what_is_redone_does() -> None:
    undo = [Act(kind="undo", undoes=line) for line in (1, 3)]
    assert in_force([RENAME, RENAME]) == [True, True]
    assert in_force([RENAME, RENAME, undo[0]]) == [False, True, False]
    assert in_force([RENAME, RENAME, undo[0], undo[1]]) == [True, True, False, False]


WRITER = """
import sys
from pathlib import Path
from clusterpipe.cache.corrections import Act, append

log = Path(sys.argv[1])
print("started", flush=True)
for number in range(10_000):
    append(log, [Act(kind="note", text=f"{number} " + "x" * 5_000)])
"""


def test_the_log_of_a_killed_writer_is_whole_or_old(tmp_path: Path) -> None:
    log = tmp_path / "corrections.jsonl"
    seen = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(log)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while seen < 5:
            seen = len(corrections.read_log(log))
        os.kill(process.pid, signal.SIGKILL)
    acts = corrections.read_log(log)
    assert len(acts) >= seen
    assert [act.text.split()[0] for act in acts] == [str(n) for n in range(len(acts))]
