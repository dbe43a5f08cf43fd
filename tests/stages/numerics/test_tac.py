"""Text-aided clustering against naive loops, closed forms and what must not matter."""

import numpy as np
import pytest
import torch

from clusterpipe.stages.numerics.metrics import agreement
from clusterpipe.stages.numerics.preparation import unit_rows
from clusterpipe.stages.numerics.tac import (
    Pairs,
    Weights,
    centre_count,
    disagreement,
    distillation,
    mean_entropy,
    objective,
    select_words,
    text_counterparts,
    train,
    two_heads,
)


def unit(n: int, d: int, seed: int) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)))


def memberships(b: int, k: int, seed: int) -> torch.Tensor:
    logits = torch.randn(b, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.softmax(dim=1)


# ---- words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "k", "expected"),
    [
        (50_000, 10, 167),
        (13_000, 10, 43),
        (19_500, 15, 65),
        (3_760, 47, 141),
        (9_537, 101, 303),
        (1_281_167, 1000, 4271),
        (20, 10, 20),
    ],
)
def test_as_many_centres_as_the_authors_took(n: int, k: int, expected: int) -> None:
    assert centre_count(n, k) == expected


@pytest.mark.parametrize("at_once", [7, 60, 4096])
def test_words_are_those_of_the_double_loop(at_once: int) -> None:
    centre, words = unit(6, 5, 0), unit(60, 5, 1)
    of_centre: dict[int, list[tuple[float, int]]] = {}
    for word in range(60):
        score = [float(np.exp(np.dot(centre[c], words[word]))) for c in range(6)]
        owner = int(np.argmax(score))
        of_centre.setdefault(owner, []).append((-score[owner] / sum(score), word))
    expected = sorted(word for found in of_centre.values() for _, word in sorted(found)[:3])
    np.testing.assert_array_equal(select_words(centre, words, each=3, at_once=at_once), expected)


def test_a_centre_that_no_word_is_likeliest_of_gets_none() -> None:
    centre = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(select_words(centre, centre[[2, 0, 2]], each=1), [0, 1])


def test_counterparts_are_weighted_means() -> None:
    rows, words = unit(4, 5, 2), unit(9, 5, 3)
    weight = np.exp((rows @ words.T).astype(float) / 0.1)
    mean = (weight / weight.sum(axis=1, keepdims=True)) @ words
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(text_counterparts(rows, words, temperature=0.1), expected, rtol=1e-4)


def test_a_cold_counterpart_is_the_nearest_word() -> None:
    rows, words = unit(20, 5, 4), unit(9, 5, 5)
    nearest = words[(rows @ words.T).argmax(axis=1)]
    cold = text_counterparts(rows, words, temperature=1e-5)
    assert np.median(np.abs(cold - nearest).max(axis=1)) < 1e-5


# ---- the objective ------------------------------------------------------------------------


def test_distillation_is_that_of_the_loops() -> None:
    first, second, k = memberships(8, 3, 0), memberships(8, 3, 1), 3
    columns = [*first.T.numpy(), *second.T.numpy()]
    columns = [column / np.linalg.norm(column) for column in columns]
    total = 0.0
    for one in range(2 * k):
        score = [np.exp(columns[one] @ columns[o] / 0.5) for o in range(2 * k) if o != one]
        total -= np.log(np.exp(columns[one] @ columns[(one + k) % (2 * k)] / 0.5) / sum(score))
    found = distillation(first, second, temperature=0.5)
    assert found.item() == pytest.approx(total / (2 * k))


def test_equal_sure_assignments_cost_what_they_must() -> None:
    sure = torch.eye(4, dtype=torch.float64).repeat(2, 1)
    least = np.log(1 + (2 * 4 - 2) * np.exp(-1 / 0.5))
    assert distillation(sure, sure, temperature=0.5).item() == pytest.approx(least)
    assert disagreement(sure, sure).item() == 0
    assert mean_entropy(sure).item() == pytest.approx(np.log(4))
    renamed = sure[:, [2, 0, 3, 1]]
    assert distillation(sure, renamed, temperature=0.5) > distillation(sure, sure, temperature=0.5)


def test_disagreement_and_entropy_in_closed_form() -> None:
    first, second = memberships(6, 3, 2), memberships(6, 3, 3)
    expected = -np.log(np.einsum("bk,bk->b", first, second)).mean()
    assert disagreement(first, second).item() == pytest.approx(expected)
    mean = first.numpy().mean(axis=0)
    assert mean_entropy(first).item() == pytest.approx(-(mean * np.log(mean)).sum())
    assert torch.isfinite(disagreement(torch.eye(2), torch.eye(2)[[1, 0]]))


# ---- the heads ----------------------------------------------------------------------------


def pairs(n: int = 120, k: int = 3) -> tuple[Pairs, np.ndarray]:
    """Images in k groups around orthogonal directions, with counterparts likewise."""
    truth = np.arange(n) % k
    near = np.stack(
        [np.flatnonzero((truth == one) & (np.arange(n) != i))[:10] for i, one in enumerate(truth)]
    )
    views = [unit_rows(np.eye(k, 8)[truth] + 0.15 * unit(n, 8, seed)) for seed in (6, 7)]
    image, text = (torch.from_numpy(view) for view in views)
    return Pairs(image, text, torch.from_numpy(near), torch.from_numpy(near)), truth


def test_training_finds_what_both_views_show_and_is_repeatable() -> None:
    data, truth = pairs()
    outcomes = []
    for _ in range(2):
        heads = two_heads(8, 3, hidden=16, seed=1)
        state = torch.random.get_rng_state()
        losses = list(train(heads, data, steps=80, batch=60, weights=Weights(5.0, 0.5), seed=1))
        assert torch.equal(state, torch.random.get_rng_state())
        outcomes.append(heads.image_layers().logits(data.image.numpy()))
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(*outcomes)
    assert agreement(truth, outcomes[0].argmax(axis=1)).accuracy == 1


def test_without_balance_the_loss_has_no_entropy() -> None:
    data, _ = pairs()
    heads, batch = two_heads(8, 3, hidden=16), torch.arange(60)
    near = torch.zeros(2, 60, dtype=torch.long)
    loss = [objective(data, heads, batch, near, Weights(b, 0.5)).item() for b in (0.0, 1.0, 2.0)]
    assert loss[0] - loss[1] == pytest.approx(loss[1] - loss[2], abs=1e-5)
    assert 0 < loss[0] - loss[1] <= 2 * np.log(3) + 1e-5


def test_plain_arrays_are_the_trained_head() -> None:
    data, _ = pairs()
    heads = two_heads(8, 3, hidden=16)
    list(train(heads, data, steps=5, batch=60, weights=Weights(5.0, 0.5), seed=0))
    with torch.no_grad():
        expected = heads.image.eval()(data.image).numpy()
    found = heads.image_layers().logits(data.image.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
