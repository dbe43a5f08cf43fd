"""Probabilities of merged clusters add up; those of a split one go to the nearest piece."""

import numpy as np

from clusterpipe.stages.numerics.pieces import among_pieces, several

SOFT = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], np.float32)
Z = np.array([[0, 0], [4, 0]], np.float32)


def test_whole_clusters_add_to_what_they_went_to() -> None:
    piece = np.array([[0, 1], [1, 1], [2, 0]])
    mean = np.full((3, 2), np.nan, np.float32)
    assert not several(piece).any()
    found = among_pieces(SOFT, Z, piece, mean, 2)
    np.testing.assert_allclose(found, [[0.2, 0.8], [0.3, 0.7]], rtol=1e-6)


def test_a_row_is_of_the_piece_whose_mean_is_nearest() -> None:
    piece = np.array([[0, 0], [0, 3], [0, 4], [1, 1], [2, 2]])
    mean = np.array([[0, 1], [4, 1], [np.nan, np.nan], [9, 9], [9, 9]], np.float32)
    assert several(piece).tolist() == [True, True, True, False, False]
    found = among_pieces(SOFT, Z, piece, mean, 5)
    expected = [[0.5, 0.3, 0.2, 0, 0], [0, 0.6, 0.3, 0.1, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
