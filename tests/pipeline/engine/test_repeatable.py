"""`deterministic` promises the same content ids whatever the batch size, threads and workers."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tiny_backbone
import torch
from program import content_ids, paint

from clusterpipe.cache import artifact
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Assignments, KEstimate, Refined
from clusterpipe.pipeline import run_stage
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.repeatable import repeatable
from clusterpipe.stages.declaration import Compute


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


STAGES = ("embed", "estimate-k", "refine", "assign")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[RunDirectory]]:
    """Two runs on the same pictures that are computed in different ways."""
    home = tmp_path_factory.mktemp("repeatable")
    photos = paint(home / "photos", per_kind=8)
    tiny = tiny_backbone.save(home / "tiny.pt")
    settings = {"source.path": str(photos), "embed.backbones": (f"tiny={tiny}",)}
    computing = ((7, 1, 1), (64, 3, 2))

    def made(**more: Any) -> list[RunDirectory]:
        found = []
        for batch_size, workers, threads in computing:
            torch.set_num_threads(threads)
            own = {"embed.batch_size": batch_size, "embed.workers": workers}
            config = Config()
            for key, value in {**settings, **more, **own}.items():
                config = config.set(key, value, "test")
            folder = home / f"{'-'.join(more)}-{batch_size}"
            for stage in STAGES:
                run_stage(stage, config, folder)
            found.append(RunDirectory(folder))
        return found

    return made


@pytest.mark.slow
def test_a_deterministic_run_has_equal_ids_whatever_the_computing(
    runs: Callable[..., list[RunDirectory]],
) -> None:
    one, other = (content_ids(run.folder) for run in runs(**{"compute.deterministic": True}))
    assert one == other
    assert set(one) == {"embeddings", "k_estimate", "refined", "assignments"}


@pytest.mark.slow
def test_otherwise_k_and_labels_are_equal_and_numbers_nearly_so(
    runs: Callable[..., list[RunDirectory]],
) -> None:
    one, other = runs()
    k = [artifact.read(run.artifact(KEstimate), KEstimate).k for run in (one, other)]
    assert k[0] == k[1]
    rows = [artifact.read(run.artifact(Refined), Refined).features[0:24] for run in (one, other)]
    np.testing.assert_allclose(*rows, atol=2e-3)
    found = [artifact.read(run.artifact(Assignments), Assignments) for run in (one, other)]
    np.testing.assert_array_equal(*(each.methods[each.chosen].label for each in found))


def product(threads: int, *, deterministic: bool) -> Any:
    torch.set_num_threads(threads)
    rows = torch.tensor(np.random.default_rng(0).standard_normal((3, 40_000)), dtype=torch.float32)
    with repeatable(Compute(deterministic=deterministic)):
        return torch.get_num_threads(), (rows @ rows.T).numpy()


def test_one_thread_and_exact_kernels_while_it_lasts() -> None:
    (one, first), (two, second) = (product(n, deterministic=True) for n in (1, 2))
    assert (one, two) == (1, 1)
    np.testing.assert_array_equal(first, second)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert product(2, deterministic=False)[0] == 2
