"""The cores that a process may use, by its affinity and the quotas of control groups."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusterpipe.cache.cores import usable_cores

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000"}, ALL),
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/a\n", {"a/cpu.max": "9000000 100000"}, ALL),
        (
            "3:cpu,cpuacct:/j\n",
            {"cpu/j/cpu.cfs_quota_us": "70000", "cpu/j/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("3:cpu:/j\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALL),
        ("nonsense", {"cpu.max": "nonsense"}, ALL),
    ],
)
def test_quotas_of_all_groups_above_count(
    tmp_path: Path, group: str, files: dict[str, str], expected: int
) -> None:
    own = tmp_path / "own"
    own.write_text(group if group != "nonsense" else "")
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert usable_cores(tmp_path / "groups", own) == expected


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none", tmp_path / "none") == ALL


def test_a_process_on_one_core_counts_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
        "from clusterpipe.cache.cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "1\n"
