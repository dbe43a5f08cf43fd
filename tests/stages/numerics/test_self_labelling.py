"""Who teaches, and what is learnt: against brute force, numpy, and labels known to be wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from clusterpipe.stages.numerics.perceptron import logits, perceptron, plain_layers
from clusterpipe.stages.numerics.scp import noise_pairs
from clusterpipe.stages.numerics.self_labelling import SelfLabellingRecipe, confident_rows, learn

K, N = 4, 400
TRUTH = np.arange(N) % K
QUICK = SelfLabellingRecipe(epochs=1, least_steps=60, batch=64)


def blobs() -> NDArray[np.float32]:
    rows = 2 * np.eye(K, 8)[TRUTH] + 0.3 * np.random.default_rng(0).normal(size=(N, 8))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def learnt(
    label: NDArray[np.int64], taught: NDArray[np.int64], *, seed: int = 0
) -> NDArray[np.int64]:
    network = perceptron(8, K, layers=2, width=32, seed=seed)
    pairs, generator = noise_pairs(blobs(), 0.15), torch.Generator().manual_seed(seed)
    losses = list(learn(network, pairs, label, taught, generator, recipe=QUICK))
    assert len(losses) == QUICK.steps(len(taught)) == 60
    assert np.mean(losses[-5:]) < losses[0] / 2
    assert not network.training
    return np.asarray(logits(blobs(), plain_layers(network)).argmax(axis=1))


def test_the_surest_of_every_cluster_teach_and_sizes_keep_their_proportions() -> None:
    rng = np.random.default_rng(1)
    label, probability = np.repeat([0, 2, 3], [100, 51, 1]), rng.random(152)
    taught = confident_rows(label, probability, share=0.5)
    assert np.bincount(label[taught], minlength=4).tolist() == [50, 0, 26, 1]
    for cluster in (0, 2, 3):
        own = np.flatnonzero(label == cluster)
        ranked = own[np.argsort(-probability[own])]
        chosen = taught[label[taught] == cluster]
        np.testing.assert_array_equal(chosen, np.sort(ranked[: len(chosen)]))


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_no_cluster_is_lost_and_all_may_teach(share: float) -> None:
    label = np.array([1, 1, 0, 1])
    taught = confident_rows(label, np.ones(4), share=share)
    assert taught.tolist() == ([0, 2] if share < 1 else [0, 1, 2, 3])


def test_labels_that_were_wrong_and_unsure_are_mended() -> None:
    rng = np.random.default_rng(2)
    label, probability = TRUTH.copy(), rng.uniform(0.8, 1, N)
    wrong = rng.choice(N, N // 10, replace=False)
    label[wrong], probability[wrong] = (TRUTH[wrong] + 1) % K, 0.5
    taught = confident_rows(label, probability, share=0.7)
    assert not np.isin(wrong, taught).any()
    np.testing.assert_array_equal(learnt(label, taught), TRUTH)


def test_the_loss_is_the_cross_entropy_of_both_looks() -> None:
    network = perceptron(8, K, layers=2, width=16, seed=0)
    rows = torch.from_numpy(blobs())
    recipe = replace(QUICK, batch=N)
    taught, generator = np.arange(N), torch.Generator().manual_seed(0)
    steps = learn(
        network,
        lambda index, _: (rows[index], -rows[index]),
        TRUTH,
        taught,
        generator,
        recipe=recipe,
    )
    with torch.no_grad():
        out = network.train()(torch.cat([rows, -rows])).numpy()
    expected = -log_softmax(out, axis=1)[np.arange(2 * N), np.tile(TRUTH, 2)].mean()
    assert next(steps) == pytest.approx(expected, rel=1e-5)


def test_the_seed_decides_and_the_global_generator_does_not() -> None:
    taught = np.arange(0, N, 3)
    torch.manual_seed(0)
    first = learnt(TRUTH, taught, seed=3)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, learnt(TRUTH, taught, seed=3))
