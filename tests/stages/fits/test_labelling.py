"""Labels, probabilities, distances and exemplars of all rows, beside the same by plain algebra."""

import numpy as np
from scipy.special import softmax

from clusterpipe.stages.assign import AssignConfig, assign
from clusterpipe.stages.heads import BLOCK
from clusterpipe.stages.numerics.preparation import prepare

K, N = 5, 2 * BLOCK + 300


def test_every_row_of_every_block_has_the_cluster_of_its_nearest_centre() -> None:
    """The rows are read in three blocks, of which the last is not full."""
    rng = np.random.default_rng(0)
    centre = 3 * np.eye(K, 24)[rng.integers(K, size=N)] + 5
    rows = np.asarray(centre + 2 * rng.normal(size=centre.shape), np.float32)
    found = assign(rows, K, AssignConfig(seeds=2, restarts=1, methods=("spherical-kmeans",)))
    clusters = found.methods["spherical-kmeans"]
    z = prepare(rows, clusters.center, unit=True)
    cosine = (z @ clusters.centroid.T) / np.linalg.norm(clusters.centroid, axis=1)
    np.testing.assert_array_equal(clusters.label, cosine.argmax(axis=1))
    probability = softmax(cosine / clusters.temperature, axis=1)
    np.testing.assert_allclose(clusters.probability, probability.max(axis=1), atol=2e-3)
    ordered = -np.sort(-probability, axis=1)[:, : clusters.top_probability.shape[1]]
    np.testing.assert_allclose(clusters.top_probability, ordered, atol=2e-3)
    distance = np.linalg.norm(z - clusters.centroid[clusters.label], axis=1)
    for cluster in range(K):
        members = np.flatnonzero(clusters.label == cluster)
        score = distance[members] / np.median(distance[members])
        np.testing.assert_allclose(clusters.outlier_score[members], score, rtol=1e-3)
        nearest = np.sort(distance[members])[: clusters.exemplar.shape[1]]
        np.testing.assert_allclose(distance[clusters.exemplar[cluster]], nearest, rtol=1e-4)
