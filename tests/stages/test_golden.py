"""Each stage on toy data gives what it gave when its version was last set.

If a change makes results differ on purpose, raise the stage's version (everything cached under the
old one becomes stale) and write the new values: python tests/stages/test_golden.py
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from clusterpipe.cache.corrections import Act, NamedCluster
from clusterpipe.cache.sources import SourceConfig, open_source
from clusterpipe.stages import STAGES
from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.caption import caption
from clusterpipe.stages.correct import correct
from clusterpipe.stages.curate import curate
from clusterpipe.stages.embed import embed
from clusterpipe.stages.estimate_k import estimate_k
from clusterpipe.stages.evaluate import evaluate
from clusterpipe.stages.heads import HEADS
from clusterpipe.stages.levels import levels
from clusterpipe.stages.refine import RefineConfig, refine

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).with_name("golden.npz")
TRUTH = np.repeat(np.arange(4), 30)
Arrays = Mapping[str, Any]


def toy() -> np.ndarray:
    """120 rows around four directions in 16 dimensions."""
    rng = np.random.default_rng(0)
    return np.asarray(np.eye(4, 16)[TRUTH] + 0.1 * rng.normal(size=(120, 16)), np.float32)


def embedded() -> Arrays:
    with TemporaryDirectory() as folder:
        source = open_source(SourceConfig(limit=5))
        features = embed(source, folder=Path(folder)).spaces["packaged"].features[:]
    return {"features": features[:, ::40].astype(np.float32)}


def estimated() -> Arrays:
    found = estimate_k(toy())
    return {"k": found.k, "interval": found.interval, "length": found.length[:10]}


def refined() -> Arrays:
    found = refine(toy(), RefineConfig(epochs=3))
    z = found.features[:]
    return {"cosines": (z @ z.T)[::13, ::11], "loss": found.loss}


def assigned() -> Arrays:
    arrays = {}
    for name, found in assign(
        toy(), 4, AssignConfig(seeds=2, methods=tuple(HEADS))
    ).methods.items():
        label = found.label[::10]
        arrays[f"{name}/together"] = label[:, None] == label[None]
        arrays[f"{name}/probability"] = found.probability[::10]
        arrays[f"{name}/outlier_score"] = found.outlier_score[::10]
        arrays[f"{name}/objective"] = found.objective_per_seed
    return arrays


def captioned() -> Arrays:
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(12, 1280))).astype(np.float32)
    found = caption(features, np.arange(12) % 3, "packaged:efficientnet-lite0")
    return {"score": found.methods["vote"].score, "margin": found.methods["vote"].margin}


def evaluated() -> Arrays:
    features = toy()
    found = evaluate(
        assign(features, 3, AssignConfig(methods=("spherical-kmeans",), seeds=2)),
        features,
        label=TRUTH,
    )
    return {
        "chosen": found.chosen_value,
        "chance": found.chance,
        "retrieval": found.retrieval_value,
    }


def curated() -> Arrays:
    features = toy()
    features[[7, 90]] = features[5]
    found = curate(features)
    names = ("group", "representative", "similarity", "isolation", "outlier")
    return {name: getattr(found, name) for name in names}


def corrected() -> Arrays:
    """Two of three clusters merged, the other one split, an image moved."""
    features, label = toy(), np.minimum(TRUTH, 2)
    digest = np.array([f"{row:04x}" for row in range(len(label))], object)
    named = [
        NamedCluster(
            images={digest[r]: digest[r] for r in np.flatnonzero(label == c)},
            size=int((label == c).sum()),
        )
        for c in range(3)
    ]
    acts = [
        Act(kind="merge", clusters=(named[0], named[1])),
        Act(kind="split", clusters=(named[2],), into=2),
        Act(kind="move", clusters=(named[0],), images={digest[-1]: digest[-1]}),
    ]
    top = np.stack([label, (label + 1) % 3], axis=1)
    found = correct(
        features,
        label,
        acts,
        id=digest,
        digest=digest,
        probability=np.full(len(label), 0.6),
        top_label=top,
        top_probability=np.tile([0.6, 0.3], (len(label), 1)),
        exemplar=np.array([[np.flatnonzero(label == c)[0]] for c in range(3)]),
        outlier_score=np.ones(len(label)),
    )
    names = ("label", "probability", "top_label", "top_probability", "exemplar", "piece", "placed")
    return {name: getattr(found, name) for name in names}


def levelled() -> Arrays:
    found = levels(toy(), TRUTH, level=np.array([2, 4, 9]))
    return {"coarse": found.coarse, "fine": found.fine, "number": found.number}


STAGE_RESULTS: Mapping[str, Callable[[], Arrays]] = {
    "embed": embedded,
    "estimate-k": estimated,
    "refine": refined,
    "assign": assigned,
    "correct": corrected,
    "levels": levelled,
    "caption": captioned,
    "evaluate": evaluated,
    "curate": curated,
}


@pytest.mark.parametrize("stage", STAGES)
def test_results_changed_only_with_the_version(stage: str) -> None:
    golden = np.load(GOLDEN)
    if golden[f"{stage}/version"] != STAGES[stage].version:
        pytest.fail(f"{stage} has a new version: write its golden values (see this file's top)")
    for name, value in STAGE_RESULTS[stage]().items():
        np.testing.assert_allclose(
            np.asarray(value, np.float64),
            golden[f"{stage}/{name}"],
            rtol=2e-2,
            atol=2e-2,
            err_msg=f"results changed: bump the version of {stage}",
        )


def main() -> None:
    arrays: dict[str, Any] = {}
    for stage, results in STAGE_RESULTS.items():
        arrays[f"{stage}/version"] = STAGES[stage].version
        arrays |= {f"{stage}/{name}": np.asarray(v, np.float64) for name, v in results().items()}
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    main()
