"""The measure of growth: its features, its processes, its exponents and its page."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import growth
from growth import Cost
from mixture import BLOCK, mixture

from clusterpipe.stages import STAGES

N_LOG_N = [
    Cost("curate", n, 3 + n * np.log(n) / 1e5, 500 + n / 1000, 40 * n)
    for n in (10**4, 10**5, 10**6)
]


def test_features_are_unit_rows_nearest_to_the_centre_of_their_own_cluster() -> None:
    blocks = list(mixture(BLOCK + 500, clusters=5, width=16))
    rows, label = (np.concatenate(part) for part in zip(*blocks, strict=True))
    assert (len(blocks), rows.shape, sorted(set(label))) == (2, (BLOCK + 500, 16), [0, 1, 2, 3, 4])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    centred = rows - rows.mean(axis=0)
    centre = np.stack([centred[label == k].mean(axis=0) for k in range(5)])
    nearest = (centred @ centre.T - np.square(centre).sum(axis=1) / 2).argmax(axis=1)
    assert (nearest == label).mean() > 0.7


def test_every_stage_has_a_row_but_those_that_need_images_or_a_person() -> None:
    names = {name.replace("_", "-") for name in STAGES}
    assert names - set(growth.STAGES) == {"caption", "correct"}
    assert set(growth.STAGES) < names


def test_a_command_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    found = growth.measured("config", 7, ("init", "--output", "run/a.toml"), run, most_data=0)
    assert (found.command, found.rows) == ("config", 7)
    assert 0.1 < found.seconds < 60
    assert 20 < found.megabytes < 500
    assert found.bytes == (run / "a.toml").stat().st_size > 0


def test_a_command_that_needs_more_data_than_allowed_fails(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(RuntimeError, match="version on 7 rows failed"):
        growth.measured("version", 7, ("--version",), tmp_path / "run", most_data=2**24)


def test_the_exponent_is_that_of_the_last_step_without_what_starting_costs() -> None:
    exact = np.log(10 * np.log(10**6) / np.log(10**5)) / np.log(10)
    assert growth.exponent(N_LOG_N, 3.0) == pytest.approx(exact)
    assert growth.exponent(N_LOG_N[:1], 3.0) is None
    assert growth.exponent([Cost("status", n, 3.5, 60, 0) for n in (10, 100)], 3.0) is None


def test_the_page_gets_the_table_between_its_marks_and_the_plot(tmp_path: Path) -> None:
    page = tmp_path / "measurements" / "scale.md"
    page.parent.mkdir()
    page.write_text(f"before\n{growth.BEGIN}\nold\n{growth.END}\nafter\n")
    for _ in range(2):
        growth.document(N_LOG_N, tmp_path, 3.0)
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1], growth.PICTURE in lines) == ("before", "after", True)
    assert lines[2].split(" | ")[-2:] == ["exponent", "bytes per row |"]
    assert lines[4] == "| curate | 3.9 / 510 | 14.5 / 600 | 141.2 / 1500 | 1.08 | 40 |"
    assert (tmp_path / "pictures" / "growth.png").stat().st_size > 5_000
