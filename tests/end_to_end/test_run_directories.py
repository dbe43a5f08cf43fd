"""A run directory is never invented, and a setting that was refused leaves no trace in one."""

import os
import re
import time
from pathlib import Path

import pytest
from program import Command, paint

UNTIL = ("--until", "embed")


def kept(run: Path) -> str:
    path = run / "pipeline.toml"
    return path.read_text() if path.exists() else ""


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (["caption.vocabulary=absent.txt"], 2),
        (["embed.backbones=clip=open_clip:ViT-B-32@openai"], 6),
        (["assign.k=2", "caption.vocabulary=absent.txt"], 2),
    ],
)
def test_a_refused_setting_leaves_no_trace(
    settings: list[str], code: int, home: Path, clusterpipe: Command
) -> None:
    run = home / "runs/photos"
    given = [part for setting in settings for part in ("--set", setting)]
    refused = clusterpipe("run-all", "photos", *given, cwd=home)
    assert refused.code == code, refused.err
    assert "not remembered: " in refused.err
    assert settings[-1].split("=")[0] in refused.err
    for setting in settings:
        if setting != "assign.k=2":  # what has worked is kept: assign ran
            assert setting.partition(".")[2] not in kept(run).replace(" ", "").replace('"', "")
    before = kept(run)
    assert clusterpipe("run-all", "photos", "--set", "assign.k=-1", cwd=home).code == 2
    assert kept(run) == before
    again = clusterpipe("run-all", "photos", cwd=home)
    assert again.code == 0, again.err


def test_a_first_run_that_is_refused_is_no_run(tmp_path: Path, clusterpipe: Command) -> None:
    paint(tmp_path / "photos", per_kind=4)
    refused = clusterpipe(
        "run-all", "photos", "--set", "embed.backbones=clip=open_clip:ViT-B-32@openai"
    )
    assert refused.code == 6
    assert "not remembered: embed.backbones" in refused.err
    assert kept(tmp_path / "runs/photos") == ""
    assert clusterpipe("run-all", "photos", *UNTIL).code == 0
    assert "packaged" in kept(tmp_path / "runs/photos")


def test_an_empty_folder_takes_no_run_directory(tmp_path: Path, clusterpipe: Command) -> None:
    (tmp_path / "a/photos").mkdir(parents=True)
    paint(tmp_path / "b/photos", per_kind=2)
    assert clusterpipe("run-all", "a/photos").code == 3
    assert clusterpipe("run-all", "b/photos", *UNTIL).code == 0


def test_what_is_remembered_can_be_undone(home: Path, clusterpipe: Command) -> None:
    """The command that an error prints does it."""
    settings = home / "runs/photos/pipeline.toml"
    settings.write_text(
        re.sub(
            r"(?ms)(^\[caption\].*?^vocabulary = )[^\n]*", r'\1"absent.txt"', kept(settings.parent)
        )
    )
    broken = clusterpipe("run-all", "photos", cwd=home)
    assert broken.code == 2
    advice = re.search(r"`clusterpipe (config --reset [^`]+)`", broken.err)
    assert advice, broken.err
    undone = clusterpipe(*advice[1].split(), cwd=home)
    assert undone.code == 0, undone.err
    assert undone.out.startswith("caption.vocabulary = ")
    assert clusterpipe("run-all", "photos", cwd=home).code == 0


def test_a_table_is_reset_and_a_source_is_not(home: Path, clusterpipe: Command) -> None:
    run = ("--run-dir", "runs/photos")
    assert clusterpipe("assign", *run, "--set", "assign.k=2", cwd=home).code == 0
    reset = clusterpipe("config", "--reset", "assign", *run, "--json", cwd=home)
    assert reset.json()["reset"]["assign.k"] == 0
    assert "\nk = 2" not in kept(home / "runs/photos")
    assert clusterpipe("config", "--reset", "source.path", *run, cwd=home).code == 2
    unknown = clusterpipe("config", "--reset", "assign.kk", *run, cwd=home)
    assert (unknown.code, "did you mean assign.k?" in unknown.err) == (2, True)
    assert clusterpipe("config", "--reset", "assign.k", "-r", "nowhere", cwd=home).code == 4


def test_a_kept_setting_that_cannot_be_read_can_be_reset(home: Path, clusterpipe: Command) -> None:
    settings = home / "runs/photos/pipeline.toml"
    settings.write_text(re.sub(r"(?m)^finish = .*$", 'finish = "polish"', kept(settings.parent)))
    broken = clusterpipe("status", cwd=home)
    assert broken.code == 2
    assert "clusterpipe config --reset KEY --run-dir runs/photos" in broken.err
    assert clusterpipe("config", "--reset", "assign.finish", cwd=home).code == 0
    assert clusterpipe("status", cwd=home).code == 0


@pytest.mark.parametrize("command", ["run-all", "embed", "assign", "status", "config", "report"])
def test_no_run_is_invented(command: str, home: Path, clusterpipe: Command) -> None:
    before = everything(home)
    for folder, told in (
        ("nowhere", "does not exist"),
        ("photos", "is a folder of images, such as kind0/"),
        ("runs", "is no run but holds some: runs/photos"),
        ("photos/kind0/000.png", "is a file and no run"),
    ):
        refused = clusterpipe(command, "--run-dir", folder, cwd=home)
        assert refused.code == 4, refused.err
        assert told in refused.err
        assert "the runs here: runs/photos" in refused.err
    assert everything(home) == before


def test_a_run_does_not_start_among_images(home: Path, clusterpipe: Command) -> None:
    before = everything(home)
    refused = clusterpipe("run-all", "photos", "--run-dir", "photos", cwd=home)
    assert (refused.code, "holds images" in refused.err) == (2, True)
    assert everything(home) == before


def test_a_bare_report_is_of_the_latest_run_and_says_so(home: Path, clusterpipe: Command) -> None:
    paint(home / "others", per_kind=4)
    assert clusterpipe("run-all", "others", "--set", "assign.k=3", cwd=home).code == 0
    told = clusterpipe("export", "--to", "csv", cwd=home)
    assert told.code == 0, told.err
    assert "runs/others/export" in told.out
    assert "the latest of 2 runs: runs/others" in told.err
    os.utime(home / "runs/photos/metrics.h5", (time.time() + 60, time.time() + 60))
    assert "runs/photos/export" in clusterpipe("export", "--to", "csv", cwd=home).out
    changing = clusterpipe("assign", cwd=home)
    assert (changing.code, "there are several runs" in changing.err) == (2, True)
    rows = clusterpipe("runs", "--json", cwd=home).json()["runs"]
    assert [row["run_dir"] for row in rows] == ["runs/photos", "runs/others"]
    assert [row["images"] for row in rows] == [60, 12]
    assert rows[1]["clusters"] == 3
    assert rows[1]["source"].endswith("others")
    assert "runs/others" in clusterpipe("runs", cwd=home).out
