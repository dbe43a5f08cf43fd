"""TEMI's heads: plain arrays agree with the network, the teacher follows, and blobs are found."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from clusterpipe.stages.numerics.scp import neighbour_pairs
from clusterpipe.stages.numerics.temi import Heads, TemiRecipe, logits, train

K, N, HEADS = 4, 320, 3
TRUTH = np.arange(N) % K
RECIPE = TemiRecipe(
    epochs=8, start_epochs=2, warm_up=0, batch=32, rate=0.01, momentum=0.9, beta=0.6
)


def blobs() -> NDArray[np.float32]:
    rows = 2 * np.eye(K, 8)[TRUTH] + 0.4 * np.random.default_rng(0).normal(size=(N, 8))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def heads(seed: int = 0) -> Heads:
    return Heads(HEADS, 8, K, width=16, bottleneck=8, seed=seed)


def test_plain_arrays_are_the_network() -> None:
    network = heads()
    with torch.no_grad():
        network.gain += torch.rand(network.gain.shape)
        network.bias += 0.1
        expected = network(torch.from_numpy(blobs())).numpy()
    for head in range(HEADS):
        found = logits(blobs(), network.layers(head))
        np.testing.assert_allclose(found, expected[head], rtol=1e-4, atol=1e-5)


def test_each_head_learns_and_the_teacher_finds_the_blobs() -> None:
    rng = np.random.default_rng(1)
    start = np.stack(
        [np.where(rng.random(N) < 0.15, rng.integers(0, K, N), TRUTH) for _ in range(HEADS)]
    )
    near = (-(blobs() @ blobs().T)).argsort(axis=1)[:, 1:6]
    student, teacher = heads(), heads()
    pairs = neighbour_pairs(blobs(), near)
    losses = list(train(student, teacher, pairs, RECIPE, start=start, n=N, seed=0))
    assert len(losses) == RECIPE.epochs
    assert (losses[-1] < losses[0]).all()
    assert (teacher.weight != student.weight).any()
    chosen = teacher.layers(int(losses[-1].argmin()))
    assert adjusted_rand_score(TRUTH, logits(blobs(), chosen).argmax(axis=1)) > 0.9
