"""One browser and one report for all tests that look at it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser
from finished_run import finished_run

from clusterpipe.pipeline.report import ReportSettings, write_report
from clusterpipe.pipeline.results.reading import read_results


@pytest.fixture(scope="package")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="package")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = finished_run(tmp_path_factory.mktemp("report"), levels=True)
    settings = ReportSettings(map="pca")
    return write_report(
        read_results(done.run, done.config.source), done.config, settings=settings
    ).page
