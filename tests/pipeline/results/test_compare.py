"""`compare`: settings, agreement, metrics, and the images that moved."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import CAPTIONS, NAMES, finished_run
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.results.compare import Moved, compare
from clusterpipe.pipeline.results.reading import Results, read_results
from clusterpipe.pipeline.terminal.comparison import print_comparison

N, K = len(NAMES), 3


@pytest.fixture
def results(tmp_path: Path) -> Results:
    done = finished_run(tmp_path)
    return read_results(done.run, done.config.source)


def relabelled(results: Results, label: np.ndarray[Any, Any]) -> Results:
    return replace(results, clusters=replace(results.clusters, label=label))


def reordered(results: Results, order: np.ndarray[Any, Any]) -> Results:
    index = results.index
    index = replace(index, id=index.id[order], digest=index.digest[order])
    return relabelled(replace(results, index=index), results.clusters.label[order])


BOTH = (Config(), Config())


def test_a_run_equals_itself(results: Results) -> None:
    found = compare(results, results, BOTH)
    assert (found.shared, found.ari, found.nmi) == (N, 1.0, 1.0)
    assert found.moved == ()
    assert found.settings == ()
    assert [(m.metric, m.first) for m in found.metrics] == [
        ("accuracy", 1.0),
        ("nmi", 0.9),
        ("silhouette", 0.5),
    ]


def test_the_order_of_images_and_the_numbers_of_clusters_do_not_count(results: Results) -> None:
    turned = relabelled(results, (results.clusters.label + 1) % K)
    shuffled = reordered(turned, np.random.default_rng(0).permutation(N))
    found = compare(results, shuffled, BOTH)
    assert (found.ari, found.moved) == (1.0, ())


def test_the_images_that_moved_are_named(results: Results) -> None:
    label = (results.clusters.label + 1) % K
    label[4] = 1  # from the first run's cluster 1, which became 2, to what was 0
    label[5] = -1
    other = relabelled(results, label)
    found = compare(results, other, BOTH)
    assert found.moved == (
        Moved(NAMES[4], 1, CAPTIONS[1], 1, CAPTIONS[1]),
        Moved(NAMES[5], 2, CAPTIONS[2], -1, "unassigned"),
    )
    assert found.ari == pytest.approx(adjusted_rand_score(results.clusters.label, label))


def test_images_that_only_one_run_has_are_left_out(results: Results) -> None:
    fewer = reordered(results, np.arange(4, N))
    found = compare(results, fewer, BOTH)
    assert (found.images, found.shared, found.ari) == ((N, N - 4), N - 4, 1.0)


def test_equal_images_are_paired_in_order(results: Results) -> None:
    index = replace(results.index, digest=np.array(["same"] * N, object))
    found = compare(replace(results, index=index), replace(results, index=index), BOTH)
    assert (found.shared, found.moved) == (N, ())


def test_runs_of_other_images_are_refused(results: Results) -> None:
    index = replace(results.index, digest=np.array([f"other{i}" for i in range(N)], object))
    with pytest.raises(UsageError, match="no image in common"):
        compare(results, replace(results, index=index), BOTH)


def test_settings_that_differ_are_told(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Config().set("assign.k", 12, "test")
    found = compare(results, relabelled(results, np.zeros(N, int)), (Config(), other))
    assert [(s.key, s.first, s.second) for s in found.settings] == [("assign.k", 0, 12)]
    print_comparison(found, most=3, as_json=False)
    told = capsys.readouterr().out
    assert "assign.k" in told
    assert "3 and 1 clusters; ARI 0.000" in told
    assert f"and {N - N // K - 3} more" in told
