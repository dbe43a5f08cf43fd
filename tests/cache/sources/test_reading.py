import errno
import os
import time
from pathlib import Path

import pytest

from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import Limits
from clusterpipe.cache.sources import reading
from clusterpipe.cache.sources.reading import read_file


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


def test_a_read_that_blocks_is_given_up_and_of_the_next_ones_less_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **b: plain(tmp_path / "pipe", *a, **b))
    monkeypatch.setattr(reading._patience, "stalls", 0)
    waited = []
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="no answer while it was read") as stalled:
            read_file(tmp_path / "a", Limits(seconds=4))
        assert stalled.value.errno == errno.ETIMEDOUT
        waited.append(time.monotonic() - began)
    assert waited[1] < waited[0] - 1
    monkeypatch.undo()
    assert read_file(tmp_path / "a", Limits(seconds=0.5)) == b"x"
