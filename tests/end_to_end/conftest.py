"""The program, run in the test's own folder."""

from functools import partial
from pathlib import Path

import pytest
from program import Command, run


@pytest.fixture
def clusterpipe(tmp_path: Path) -> Command:
    return partial(run, cwd=tmp_path)
