"""SCP and TEMI as heads: from annealed k-means on, or from chance, and with too many clusters."""

from dataclasses import replace
from typing import Any

import brief
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import silent
from clusterpipe.cache.schema import Assignment
from clusterpipe.stages.assign import AssignConfig, Features, assign
from clusterpipe.stages.declaration import STAGES
from clusterpipe.stages.heads import Training, scp, temi

K, N = 5, 300
TRUTH = np.arange(N) % K
FEW = AssignConfig(seeds=1, restarts=1)
BRIEF: dict[str, type[Any]] = {"scp": brief.Scp, "temi": brief.Temi}
EACH = pytest.mark.parametrize("method", ["scp", "temi"])


class BriefPaper(brief.Temi):
    """TEMI as published, but for the number of heads and epochs."""

    epochs = 2
    size = replace(temi.SIZES["paper"], heads=2)


def blobs(n: int = N) -> NDArray[np.float32]:
    rows = 2 * np.eye(K, 12)[np.arange(n) % K] + 0.3 * np.random.default_rng(n).normal(size=(n, 12))
    return np.asarray(rows + 1, np.float32)


def views() -> NDArray[np.float32]:
    noise = 0.1 * np.random.default_rng(1).normal(size=(N, 3, 12))
    return np.asarray(blobs()[:, None] + noise, np.float32)


def found(
    method: str, k: int = K, *, views: NDArray[np.float32] | None = None, **options: Any
) -> Assignment:
    config = replace(FEW, methods=(BRIEF[method](**options),))
    return assign(Features(blobs(), views=views), k, config).methods[method]


@EACH
def test_blobs_are_found_and_new_rows_with_them(method: str) -> None:
    assert adjusted_rand_score(TRUTH, found(method).label) == 1


@pytest.mark.parametrize("positives", ["neighbours", "views", "noise"])
def test_every_kind_of_positives_finds_them(positives: str) -> None:
    clusters = found("scp", positives=positives, views=views(), alpha=1.0)
    assert adjusted_rand_score(TRUTH, clusters.label) == 1


@EACH
def test_clusters_too_many_are_left_out_if_empty(method: str) -> None:
    clusters = found(method, k=12)
    assert clusters.effective_k == len(clusters.centroid) == len(np.unique(clusters.label)) <= 12
    assert adjusted_rand_score(TRUTH, clusters.label) > 0.3


def test_the_alpha_is_chosen_by_a_recorded_error() -> None:
    parameters = found("scp").parameters
    assert parameters["alphas"].tolist() == [1.0, 3.0]
    assert parameters["alpha"] == parameters["alphas"][parameters["errors"].argmin()]
    given = found("scp", alpha=2.0).parameters
    assert (given["alpha"], given["alphas"].tolist()) == (2.0, [2.0])


def test_the_loss_of_every_head_is_recorded() -> None:
    losses = found("temi").parameters["losses"]
    assert len(np.unique(losses)) == temi.SIZES["fast"].heads
    assert np.isfinite(losses).all()


@EACH
def test_sizes_are_not_made_equal_unless_asked_for(method: str) -> None:
    truth = np.repeat([0, 1, 2, 3], [150, 60, 30, 30])
    rows = 2 * np.eye(4, 12)[truth] + 0.3 * np.random.default_rng(0).normal(size=(270, 12))
    clusters = assign(np.asarray(rows, np.float32), 4, replace(FEW, methods=(BRIEF[method](),)))
    assert adjusted_rand_score(truth, clusters.methods[method].label) > 0.95


@pytest.mark.slow
def test_from_a_random_start_balance_is_what_keeps_clusters_apart() -> None:
    def by(alpha: float) -> Assignment:
        config = replace(FEW, methods=(scp.Scp(preset="paper", alpha=alpha),))
        return assign(blobs(), K, config).methods["scp"]

    assert adjusted_rand_score(TRUTH, by(3.0).label) > 0.6
    assert by(1e-9).effective_k < K


@pytest.mark.parametrize("name", ["scp", "temi"])
def test_several_spaces_have_coordinates_of_their_own(name: str) -> None:
    rows = blobs() - blobs().mean(axis=0)
    spaces = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (rows, rows[:, :7])]
    z = np.asarray(np.hstack(spaces) / np.sqrt(2), np.float32)
    head = brief.Scp(alpha=3.0) if name == "scp" else brief.Temi()
    model = head.fit(Training(z, (12, 7)), K, [0], silent).model
    assert model.width.tolist() == [12, 7]
    assert not model.direction[:12, 12:].any()
    assert adjusted_rand_score(TRUTH, model.soft(z).argmax(axis=1)) == 1


@pytest.mark.parametrize(("n", "batch", "steps"), [(40, 64, 1), (800, 100, 8), (60_000, 512, 117)])
def test_few_images_are_learnt_in_small_batches_and_enough_steps(
    n: int, batch: int, steps: int
) -> None:
    recipe = scp.Scp().recipe(n, 20, 1.0)
    assert recipe.batch == max(batch, 100)
    assert recipe.epochs * steps >= scp.TRAINED
    assert recipe.start_epochs * steps >= scp.TAUGHT


def test_the_published_recipes_run_from_a_random_start() -> None:
    clusters = found("scp", preset="paper", alpha=1.0)
    assert clusters.parameters["middle"].shape == (3, 512, 512)
    config = replace(FEW, methods=(BriefPaper(preset="paper"),))
    clusters = assign(blobs(), K, config).methods["temi"]
    assert clusters.parameters["weight"].shape == (512, 12)


def test_views_are_read_from_embeddings_only_where_they_are_learnt_from() -> None:
    reads = STAGES["assign"].reads
    by_views = scp.Scp(positives="views")
    wanted = AssignConfig(methods=(by_views,), features="embeddings")
    assert reads(wanted)["views"].field == "{space}/views"
    assert "views" not in reads(AssignConfig(features="embeddings", heads=(by_views,)))
    with pytest.raises(UsageError, match=r"assign\.features = embeddings"):
        reads(AssignConfig(methods=(by_views,)))


@pytest.mark.parametrize("given", [None, views()[:, :1]])
def test_without_two_views_the_remedy_is_named(given: NDArray[np.float32] | None) -> None:
    with pytest.raises(UsageError, match=r"embed --set embed\.views=4"):
        found("scp", positives="views", views=given)


@pytest.mark.parametrize(
    ("method", "setting", "value"),
    [
        ("scp", "preset", "quick"),
        ("scp", "positives", "friends"),
        ("scp", "alpha", -1.0),
        ("temi", "preset", "quick"),
    ],
)
def test_refuses_what_it_cannot_use(method: str, setting: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"assign\.{method}\.{setting}"):
        found(method, **{setting: value})
