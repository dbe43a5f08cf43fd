"""Acts find their clusters again by their images, and say why where they do not."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterpipe.stages.numerics.replaying import (
    Reference,
    Replayed,
    Step,
    alike,
    matched,
    replay,
)

LABEL = np.repeat([0, 1, 2], 10)  # images 0-9, 10-19, 20-29


def halves(rows: NDArray[np.int64], into: int) -> NDArray[np.int64]:
    return np.arange(len(rows)) * into // len(rows)


def of(rows: Sequence[int], size: int = 0) -> Reference:
    """A cluster named by these rows, all of which are left."""
    return Reference(np.array(rows, np.int64), len(rows), size or len(rows))


def step(kind: str, rows: Sequence[int] = (), *clusters: Reference, **more: Any) -> Step:
    return Step(more.pop("line", 1), kind, np.array(rows, np.int64), clusters, **more)


def done(*steps: Step, label: NDArray[np.int64] = LABEL, k: int = 0) -> Replayed:
    k = k or int(label.max()) + 1
    top = np.stack([label, (label + 1) % k], axis=1)
    return replay(steps, label, np.linspace(1, 0.5, len(label)), top, k, halves)


ZERO, ONE, TWO = of(range(10)), of(range(10, 20)), of(range(20, 30))


def test_nothing_changes_without_acts_and_the_given_labels_never() -> None:
    assert done().label.tolist() == LABEL.tolist()
    before = LABEL.copy()
    done(step("merge", (), ZERO, ONE))
    assert LABEL.tolist() == before.tolist()


def test_likeness_is_the_jaccard_index() -> None:
    label = np.repeat([0, 1], [12, 18])  # cluster 0 has images 0-11
    found = alike([ZERO, ONE], label, 2)
    assert found[0, 0] == pytest.approx(10 / 12)
    assert found[1].tolist() == pytest.approx([2 / 20, 8 / 20])


def test_a_part_of_the_images_stands_for_the_cluster() -> None:
    sampled = Reference(np.arange(4), 5, 10)  # one of five named images is gone: 8 are left
    assert alike([sampled], LABEL, 3)[0].tolist() == pytest.approx([8 / 10, 0, 0])


def test_clusters_are_matched_so_that_all_together_are_most_alike() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 60)
    references = [of(np.flatnonzero(rng.random(60) < 0.4)) for _ in range(4)]
    likeness = alike(references, label, 4)
    best = max(
        permutations(range(4)), key=lambda order: sum(likeness[r, c] for r, c in enumerate(order))
    )
    found = matched(references, label, 4)
    expected = [c if likeness[r, c] >= 0.3 else -1 for r, c in enumerate(best)]
    assert found == expected


def test_a_name_follows_its_images_to_another_number() -> None:
    found = done(step("rename", (), ZERO, name="helicopter"), label=2 - LABEL)
    assert found.name == ["", "", "helicopter"]
    assert found.outcome == [""]


def test_a_cluster_that_fell_apart_leaves_its_name_to_the_piece_most_like_it() -> None:
    label = np.repeat([0, 1, 2, 3], [6, 4, 10, 10])
    assert done(step("rename", (), ZERO, name="helicopter"), label=label).name[0] == "helicopter"


def test_a_name_is_not_given_to_a_cluster_that_swallowed_its_own() -> None:
    found = done(step("rename", (), of([0, 1]), name="helicopter"), label=np.repeat([0, 1], 15))
    assert found.name == ["", ""]
    assert "no cluster is like the one it names" in found.outcome[0]


def test_of_two_names_for_what_is_one_cluster_now_the_more_alike_stays_and_the_other_is_told() -> (
    None
):
    steps = [
        step("rename", (), of(range(8)), name="small", line=4),
        step("rename", (), of(range(8, 20)), name="large", line=9),
    ]
    found = done(*steps, label=np.repeat([0, 1], [20, 10]))
    assert found.name == ["large", ""]
    assert found.outcome == ["its cluster is called 'large' by line 9", ""]


def test_a_later_name_of_the_same_cluster_replaces_the_earlier_without_complaint() -> None:
    steps = [step("rename", (), ZERO, name="a"), step("rename", (), ZERO, name="b")]
    found = done(*steps)
    assert (found.name[0], found.outcome) == ("b", ["", ""])


def test_merged_clusters_have_the_number_of_the_first_and_others_keep_theirs() -> None:
    found = done(step("merge", (), TWO, ZERO))
    assert found.label.tolist() == [2] * 10 + [1] * 10 + [2] * 10
    assert found.piece.tolist() == [[0, 2], [1, 1], [2, 2]]


def test_what_a_fit_has_merged_by_itself_needs_no_merging() -> None:
    found = done(step("merge", (), ZERO, ONE), label=np.repeat([0, 1], [20, 10]))
    assert found.label.tolist() == [0] * 20 + [1] * 10
    assert found.outcome != [""]


def test_a_split_keeps_the_number_for_one_piece_and_gives_new_ones_to_the_others() -> None:
    found = done(step("split", (), ONE, into=2))
    assert found.label.tolist() == [0] * 10 + [1] * 5 + [3] * 5 + [2] * 10
    assert found.piece.tolist() == [[0, 0], [1, 1], [1, 3], [2, 2]]


def test_too_small_a_cluster_is_not_split() -> None:
    found = done(step("split", (), ONE, into=11))
    assert found.outcome == ["its cluster has 10 images, too few for 11 clusters"]


def test_later_acts_see_what_earlier_ones_did() -> None:
    steps = [step("split", (), ONE, into=2), step("rename", (), of(range(15, 20)), name="new")]
    assert done(*steps).name[3] == "new"


def test_a_selection_becomes_a_cluster() -> None:
    found = done(step("gather", [0, 10, 20]))
    assert found.label[[0, 10, 20, 1]].tolist() == [3, 3, 3, 0]
    assert found.placed.sum() == 3


def test_images_move_to_where_most_of_the_cluster_is() -> None:
    found = done(step("move", [0, 1], TWO), label=2 - LABEL)
    assert found.label[:3].tolist() == [0, 0, 2]
    assert found.placed.sum() == 2


def test_nothing_moves_to_a_cluster_that_is_everywhere() -> None:
    found = done(step("move", [0], of([1, 11, 21])))
    assert found.label[0] == 0
    assert found.outcome == ["its cluster is spread over 3 clusters now"]


def test_a_rejected_image_is_in_no_cluster_unless_it_is_in_another_one_anyway() -> None:
    assert done(step("reject", [0, 10], ZERO)).label[[0, 10]].tolist() == [-1, 1]


def test_pinned_images_stay_whatever_holds_others_together() -> None:
    steps = [step("pin", [0], ZERO), step("same", [0, 10, 20])]
    assert done(*steps).label[[0, 10, 20]].tolist() == [0, 0, 0]
    both = [step("pin", [10], ONE), step("pin", [20], TWO), step("same", [10, 20])]
    found = done(*both)
    assert found.label[[10, 20]].tolist() == [1, 2]
    assert found.outcome[-1] == "1 of its images are pinned elsewhere"


def test_two_that_are_not_the_same_part_and_the_less_sure_one_goes() -> None:
    found = done(step("not-same", [0, 9]))
    assert found.label[[0, 9]].tolist() == [0, 1]
    assert done(step("not-same", [0, 10])).placed.sum() == 0


def test_images_that_are_gone_are_counted_and_the_rest_is_done() -> None:
    found = done(step("move", [0], TWO, lost=2))
    assert found.label[0] == 2
    assert found.outcome == ["2 of its 3 images are not in the run"]
    gone = Reference(np.empty(0, np.int64), 5, 10)
    assert done(step("move", [0], gone)).outcome == ["none of its images is left"]
    assert done(step("rename", (), gone, name="x")).outcome == ["none of its images is left"]


def test_stars_and_what_to_keep_of_duplicates_are_handed_on() -> None:
    found = done(step("star", [4, 2]), step("star", [2, 7]), step("keep", [1]), step("drop", [3]))
    assert found.star == [4, 2, 7]
    assert found.kept[[1, 3, 4]].tolist() == [1, -1, 0]
