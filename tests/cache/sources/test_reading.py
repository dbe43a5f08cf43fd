import os
import subprocess
import sys
from pathlib import Path

import pytest
from leases import Held

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import Limits
from clusterpipe.cache.sources.reading import first_bytes, in_time, read_file


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(content)
    assert read_file(tmp_path / "a", Limits()) == content


def test_a_sparse_file_of_100_gigabytes_costs_nothing(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(100 * 10**9)
    with pytest.raises(UnreadableImage, match=r"^too large: 100,000,000,000 bytes.*max_pixels"):
        read_file(tmp_path / "a.jpg", Limits())


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_file(tmp_path / "pipe", Limits())
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", Limits())


def test_a_read_that_waits_is_given_up_and_of_the_next_ones_less_is_waited_for(
    tmp_path: Path,
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"x")
    program = [sys.executable, "-c", READ, str(tmp_path / "a"), str(tmp_path / "b")]
    held = Held(tmp_path / "a")
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    held.give_up()
    first, second, *others = done.stdout.splitlines()
    assert first.startswith(second.split(" for ")[0])
    assert "no answer while it was read, for 2 s" in first
    assert "no answer while it was read, for 1 s" in second
    assert others == ["b'x'"] * 2


READ = """
import errno, sys
from pathlib import Path
from clusterpipe.cache.limits import Limits
from clusterpipe.cache.sources.reading import first_bytes, in_time, read_file
held, other = map(Path, sys.argv[1:])
limits = Limits(seconds=2)
reads = [lambda file: read_file(file, limits), lambda file: in_time(first_bytes, file, limits)]
for read, file in [(reads[0], held), (reads[1], held), (reads[1], other), (reads[0], other)]:
    try:
        print(read(file))
    except TimeoutError as error:
        assert error.errno == errno.ETIMEDOUT
        print(error)
"""


def test_looking_at_a_file_raises_what_it_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        in_time(first_bytes, tmp_path / "none", Limits())
    with pytest.raises(ZeroDivisionError):
        in_time(lambda path: 1 // 0, tmp_path, Limits())
