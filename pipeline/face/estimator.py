"""The stages as a scikit-learn estimator, for those who have features and a notebook.

Unlike the rest of the program this module imports scikit-learn at once; nothing else imports it.
"""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.base import ClassNamePrefixFeaturesOutMixin as NamedOutput
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.rows import ConcatenatedRows, blocks
from clusterpipe.cache.schema import Assignments
from clusterpipe.pipeline.engine.inputs import stage_seed
from clusterpipe.stages import STAGES, heads
from clusterpipe.stages.assign import SIDE_BY_SIDE, AssignConfig, Features, assign
from clusterpipe.stages.estimate_k import estimate_k
from clusterpipe.stages.numerics.feature_map import apply_map
from clusterpipe.stages.refine import refine


class FeatureClusters(NamedOutput, ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Clusters features (n, d) as `clusterpipe run-all` does, k estimated if it is not given.

    n_clusters: None estimates it by `clusterpipe estimate-k`. refine: clusters what `clusterpipe
    refine` makes of the features; False clusters them as they are. method: a head, such as
    annealed, spherical-kmeans or spectral, or 'auto', which fits several and takes what those fits
    agree on (`method_` is then consensus). seeds: independent fits. random_state: as in
    scikit-learn; a whole number is the seed of a run, and gives the labels of `clusterpipe run-all
    --seed` on the same array.

    After `fit`: labels_ (n,), method_, n_clusters_, cluster_centers_ (k, e) in prepared features,
    probabilities_ (n,) of the labels, space_ (what was clustered: refined or embeddings), and
    interval_ (lowest and highest plausible k, or None).
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        refine: bool = True,
        method: str = "annealed",
        seeds: int = 3,
        random_state: Any = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.refine = refine
        self.method = method
        self.seeds = seeds
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Fits the clusters of X (n, d); `y` is ignored. Raises ValueError for a bad setting."""
        rows = validate_data(
            self, X, dtype=[np.float64, np.float32], ensure_min_samples=2, ensure_min_features=2
        )
        seed = self._seed()
        try:
            estimate = None
            if self.n_clusters is None:
                estimate = estimate_k(rows, seed=stage_seed(seed, "estimate-k"))
            k = estimate.k if estimate else self.n_clusters
            found = self._assigned(rows, int(k or 0), seed)
        except UsageError as error:
            raise ValueError(str(error)) from error
        clusters = found.methods[found.chosen]
        self.method_ = found.chosen
        self.space_ = clusters.space
        self.head_ = heads.load(clusters)
        self.labels_ = clusters.label
        self.probabilities_ = clusters.probability
        self.cluster_centers_ = clusters.centroid
        self.n_clusters_ = len(clusters.centroid)
        self.interval_ = None if estimate is None else tuple(map(int, estimate.interval))
        return self

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _assigned(self, rows: NDArray[np.floating[Any]], k: int, seed: int) -> Assignments:
        """Clusters of the rows as refined, or as they are; the map is kept for rows to come."""
        features = "refined" if self.refine else "embeddings"
        config = AssignConfig(methods=(self.method,), seeds=self.seeds, features=features)
        own = stage_seed(seed, "assign")
        if not self.refine:
            self.map_ = None
            return assign(rows, k, config, seed=own)
        refined = refine(rows, seed=stage_seed(seed, "refine"))
        self.map_ = refined.parameters
        z = np.concatenate(list(blocks(refined.features)))
        both = rows if "embedded" in STAGES["assign"].reads(config) else None
        made = Features(z, "refined", refined.fitted_on)
        return assign(made, k, config, embedded=both, seed=own)

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """The cluster (n,) of each row: the argmax of `predict_proba`."""
        return np.asarray(self.predict_proba(X).argmax(axis=1), np.int32)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Probability of each cluster (n, k); rows sum to 1 and do not depend on each other."""
        rows = self._checked(X)
        return np.asarray(self.head_.soft(self._read(rows)), np.float32)

    def transform(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        """Euclidean distance (n, k) of each prepared row to the centres, as k-means gives it."""
        rows = self._checked(X)
        read = self._read(rows)
        distance = np.empty((len(rows), self.n_clusters_), rows.dtype)
        for start in range(0, len(rows), heads.BLOCK):
            block = read[start : start + heads.BLOCK]
            z = self.head_.prepared(block.astype(np.float32))
            gaps = np.linalg.norm(z[:, None] - self.cluster_centers_, axis=2)
            distance[start : start + heads.BLOCK] = gaps[: len(block)]
        return distance

    def _read(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Rows (n, d) as the head reads them: refined, as they are, or both side by side."""
        if self.map_ is None:
            return rows
        refined = apply_map(self.map_, rows)
        if self.space_ == SIDE_BY_SIDE:
            return ConcatenatedRows([rows, refined])[:]
        return rows if self.space_.startswith("embeddings") else refined

    @property
    def _n_features_out(self) -> int:
        return int(self.n_clusters_)

    def _checked(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        check_is_fitted(self)
        rows: NDArray[np.floating[Any]] = validate_data(
            self, X, dtype=[np.float64, np.float32], reset=False
        )
        return rows

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
