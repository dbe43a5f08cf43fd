"""`deterministic` promises the same content ids whatever the batch size, threads and workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_backbone
import torch
from program import content_ids, paint

from clusterpipe.pipeline import run_stage
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.repeatable import repeatable
from clusterpipe.stages.declaration import Compute


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_deterministic_run_has_equal_ids_whatever_the_computing(tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", per_kind=5)
    tiny = tiny_backbone.save(tmp_path / "tiny.pt")
    settings = {
        "source.path": str(photos),
        "embed.backbones": (f"tiny={tiny}",),
        "assign.features": "embeddings",
        "assign.k": 3,
        "compute.deterministic": True,
    }
    found = []
    for batch_size, workers, cores in ((7, 1, 1), (64, 3, 2)):
        torch.set_num_threads(cores)
        more = {"embed.batch_size": batch_size, "embed.workers": workers}
        config = Config()
        for key, value in {**settings, **more}.items():
            config = config.set(key, value, "test")
        for stage in ("embed", "assign"):
            run_stage(stage, config, tmp_path / f"run{batch_size}")
        found.append(content_ids(tmp_path / f"run{batch_size}"))
    assert found[0] == found[1]
    assert len(found[0]) == 2


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
