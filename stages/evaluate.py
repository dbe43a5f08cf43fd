"""evaluate: how good the clusters are, beside what chance would give."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Advance, Progress, silent
from clusterpipe.cache.rows import Rows
from clusterpipe.cache.schema import (
    Assignment,
    Assignments,
    Captions,
    Corrections,
    Embeddings,
    IntArray,
    Metrics,
    Refined,
    StringArray,
)
from clusterpipe.cache.sources.manifest import strings
from clusterpipe.cache.words import WordStore
from clusterpipe.stages.declaration import Compute, FolderInput, Input, Read, check, option, stage
from clusterpipe.stages.name_evaluation import ClassNames, caption_scores
from clusterpipe.stages.sampling import as_column, as_rows, read_rows, sample_of
from clusterpipe.stages.search_evaluation import search_scores
from clusterpipe.stages.standing import CORRECTED
from clusterpipe.stages.standing import corrected as with_corrections
from clusterpipe.stages.words.word_features import Tower

Values: TypeAlias = NDArray[np.float64]

ALL, STABILITY = "all", "stability"
WITH_LABELS = ("accuracy", "nmi", "ami", "ari", "purity")
UNITS = {
    **dict.fromkeys(WITH_LABELS, ""),
    "silhouette": "",
    "coding_length": "bits per image",
    "effective_k": "clusters",
    STABILITY: "",
}
EMBEDDINGS, REFINED = "embeddings", "refined"
ROWS_PER_CLUSTER = 10
DIMENSIONS, EPSILON_SQUARED = 32, 0.1


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of the evaluate stage."""

    table: ClassVar[str] = "evaluate"

    features: str = option(
        EMBEDDINGS,
        "Features for silhouette and coding length; 'embeddings' makes methods on different "
        "features comparable.",
        choices=(EMBEDDINGS, REFINED),
    )
    space: str = option(
        "",
        "Feature space of the embeddings, such as clip. Empty = the first, 'concatenate' = "
        "all side by side.",
    )
    sample: int = option(
        4_000,
        "Sampled rows per split for silhouette and coding length. Memory grows with its "
        "square (64 MB at 4,000).",
        least=2,
    )
    permutations: int = option(
        5,
        "Random labellings of the same cluster sizes to average chance levels over.",
        least=1,
    )
    queries: int = option(
        5_000,
        "Sampled labelled images to search with, each among all the others.",
        least=1,
    )


def _reads(config: EvaluateConfig) -> Mapping[str, Read]:
    return {
        "assignments": Input(Assignments, ""),
        "features": Input(Embeddings, "{space}/features"),
        "refined": Input(Refined, "features", optional=config.features != REFINED),
        "captions": Input(Captions, "", optional=True),
        "corrections": Input(Corrections, "", unless_skipped=True),
        "label": Input(Embeddings, "label", optional=True),
        "class_name": Input(Embeddings, "class_name", optional=True),
        "split": Input(Embeddings, "split", optional=True),
        "folder": FolderInput("words"),
    }


@stage(version=5, config=EvaluateConfig, reads=_reads, writes=Metrics)
def evaluate(
    assignments: Assignments,
    features: Rows,
    config: EvaluateConfig = EvaluateConfig(),
    *,
    refined: Rows | None = None,
    captions: Captions | None = None,
    corrections: Corrections | None = None,
    label: IntArray | None = None,
    class_name: StringArray | None = None,
    split: StringArray | None = None,
    folder: Path | None = None,
    compute: Compute = Compute(),
    seed: int = 0,
    progress: Progress = silent,
) -> Metrics:
    """Evaluate the clusters of every method, per seed and split, beside chance.

    features: (n, d) as embedded; refined: (n, e); label: (n,) ground truth, -1 unknown; split:
    (n,). Accuracy, NMI (arithmetic),
    AMI, ARI and purity need labels and use the labelled rows; they are NaN without. Accuracy is
    also NaN where there are fewer than 10 labelled rows per cluster or class: matching alone then
    makes it large. Silhouette (cosine) and coding length (CPP's criterion per image, on principal
    components) are measured on a sample of each split. Stability is the mean adjusted Rand index
    between the labels of a seed and of each other one. Chance is the mean over random labels with
    the sizes of the chosen ones. Images that were appended to the run, whose labels by other seeds
    are unknown, are left out. Image search is measured in the features as embedded and, if given,
    refined (`search_scores`); captions, if given, are of the chosen method's clusters, and are
    measured by `caption_scores`, which compares them with the classes' names by the text tower that
    encoded the words; encoded names are kept in `folder`, if there is one. This is the only stage
    that sees ground truth. `corrections`, if given, are measured as one method more, `corrected`,
    beside what the machine said; they come first, and confusion and captions are of them.

    Raises UsageError for lengths that do not agree, or features that are not numbers.
    """
    config, features = check(config), as_rows(features)
    refined = None if refined is None else as_rows(refined)
    label = None if label is None else as_column(label, "the ground truth")
    chosen = assignments.chosen
    methods = {chosen: assignments.methods[chosen], **assignments.methods}  # it comes first
    if corrections is not None:
        methods = {CORRECTED: with_corrections(methods[chosen], corrections), **methods}
    _check(methods, features, refined, label, split, config)
    n = features.shape[0]
    measured = refined if refined is not None and config.features == REFINED else features
    fitted = _clustered_by_all(methods)
    truth = np.full(n, -1) if label is None else np.where(fitted, label, -1)
    parts = {name: rows[fitted[rows]] for name, rows in _splits(n, split).items()}
    scores, chance = [], np.empty((0, 0))
    total = len(parts) * sum(len(m.label_per_seed) + 1 for m in methods.values())
    with progress("measuring", total=total, unit="partitions") as advance:
        for name, rows in parts.items():
            ground = _ground(measured, rows, truth, config.sample, seed)
            scores.append(_scores(ground, methods, advance))
            if name == ALL:
                chance = np.stack([_chance(ground, m, config, seed) for m in methods.values()])
    per_seed = np.stack(scores)[:, :-1]
    confusion = _confusion(truth, next(iter(methods.values())), class_name)
    return Metrics(
        method=strings(methods),
        metric=strings(UNITS),
        split=strings(parts),
        unit=strings(UNITS.values()),
        value=per_seed[0].mean(axis=0),
        spread=per_seed[0].std(axis=0),
        value_per_seed=per_seed[0],
        value_per_split=per_seed.mean(axis=1),
        chosen_value=scores[0][-1],
        chance=chance,
        count_per_split=np.array([(truth[rows] >= 0).sum() for rows in parts.values()]),
        confusion=confusion,
        protocol=_protocol(assignments, corrections, parts, truth, config),
        **search_scores(
            features, refined, truth, queries=config.queries, seed=seed, progress=progress
        ),
        **_captioned(captions, confusion, class_name, compute, folder, progress),
    )


def _captioned(
    captions: Captions | None,
    confusion: IntArray | None,
    class_name: StringArray | None,
    compute: Compute,
    folder: Path | None,
    progress: Progress,
) -> dict[str, Any]:
    """The fields of /captions, none without captions."""
    if captions is None:
        return {}
    tower = Tower(captions.backbone, captions.weights, compute.device, compute.download)
    store = WordStore(folder) if folder else None
    encoded = ClassNames.encoded(captions, class_name, tower, store, progress)
    return caption_scores(captions, confusion, class_name, encoded)


def _check(
    methods: Mapping[str, Assignment],
    features: Rows,
    refined: Rows | None,
    label: IntArray | None,
    split: StringArray | None,
    config: EvaluateConfig,
) -> None:
    n = features.shape[0]
    lengths = {f"the labels of {name}": m.label for name, m in methods.items()}
    columns = {**lengths, "the ground truth": label, "the splits": split}
    found = {what: len(values) for what, values in columns.items() if values is not None}
    if refined is not None:
        found["the refined features"] = refined.shape[0]
    for what, count in found.items():
        if count != n:
            raise UsageError(f"{n} rows of features, but {what} are {count}")
    if refined is None and config.features == REFINED:
        raise UsageError("evaluate.features is 'refined', but no refined features were given")
    if len({len(m.label_per_seed) for m in methods.values()}) > 1:
        raise UsageError("all methods must have been fitted with the same number of seeds")


def _clustered_by_all(methods: Mapping[str, Assignment]) -> NDArray[np.bool_]:
    """The rows (n,) that every seed has labelled, or the method left unassigned: not appended."""
    known = [(m.label < 0) | (m.label_per_seed >= 0).all(axis=0) for m in methods.values()]
    return np.asarray(np.all(known, axis=0))


def _splits(n: int, split: StringArray | None) -> dict[str, NDArray[np.int64]]:
    """The rows of every split, after those of all."""
    parts = {ALL: np.arange(n)}
    names = sorted({str(name) for name in split if name}) if split is not None else []
    return {**parts, **{name: np.flatnonzero(np.asarray(split) == name) for name in names}}


# ---------------------------------------------------------------- the measuring


@dataclass(frozen=True)
class _Ground:
    """Ground truth of one split, against which partitions are measured.

    rows: all rows; labelled: those with ground truth, and label: that truth; sampled: those of the
    sample, z: their principal components, distance: their cosine distances.
    """

    rows: NDArray[np.int64]
    labelled: NDArray[np.int64]
    label: NDArray[np.int64]
    sampled: NDArray[np.int64]
    z: NDArray[np.float32]
    distance: NDArray[np.float32]


def _ground(
    features: Rows, rows: NDArray[np.int64], truth: IntArray, size: int, seed: int
) -> _Ground:
    from clusterpipe.stages.numerics.metrics import cosine_distances
    from clusterpipe.stages.numerics.preparation import principal_rows, unit_rows

    labelled = rows[truth[rows] >= 0]
    sampled = sample_of(rows, size, seed)
    sample = read_rows(features, sampled)
    z = principal_rows(sample, DIMENSIONS)
    distance = cosine_distances(unit_rows(sample))
    return _Ground(rows, labelled, np.asarray(truth[labelled]), sampled, z, distance)


def _scores(ground: _Ground, methods: Mapping[str, Assignment], advance: Advance) -> Values:
    """Every metric (s + 1, a, b): of each seed, and last of the labels the method stands by."""
    table = []
    for name, method in methods.items():
        column = []
        for cluster in [*method.label_per_seed, method.label]:
            column.append(_measured(ground, np.asarray(cluster)))
            advance(1)
        stability = _stability(ground, method) if name != CORRECTED else np.nan  # no fit's labels
        table.append(np.column_stack([column, np.full(len(column), stability)]))
    return np.array(table).swapaxes(0, 1)


def _stability(ground: _Ground, method: Assignment) -> Values:
    """Agreement of the labels of each seed, and last of the chosen one, with the other seeds'."""
    from clusterpipe.stages.numerics.metrics import mutual_agreement

    agreement = mutual_agreement([np.asarray(s)[ground.rows] for s in method.label_per_seed])
    return np.append(agreement, agreement[method.chosen_seed])


def _measured(ground: _Ground, cluster: IntArray) -> Values:
    """All metrics of one partition of all rows but stability, in the order of `UNITS`."""
    from clusterpipe.stages.numerics.metrics import silhouette

    sampled = cluster[ground.sampled]
    inside = cluster[ground.rows]
    return np.array(
        [
            *_agreement(ground.label, cluster[ground.labelled]),
            silhouette(ground.distance, sampled),
            _bits_per_image(ground.z, sampled),
            _parts(inside),
        ]
    )


def _agreement(label: NDArray[np.int64], cluster: IntArray) -> list[float]:
    from clusterpipe.stages.numerics.metrics import agreement

    if not len(label):
        return [float("nan")] * len(WITH_LABELS)
    found = agreement(label, cluster)
    values = {name: float(getattr(found, name)) for name in WITH_LABELS}
    if _too_few(label, cluster):
        values["accuracy"] = float("nan")
    return list(values.values())


def _too_few(label: IntArray, cluster: IntArray) -> bool:
    """True if one-to-one matching would flatter: fewer than 10 rows per cluster or class."""
    parts = max(_parts(label), _parts(cluster) + bool((cluster < 0).any()))
    return len(label) < ROWS_PER_CLUSTER * parts


def _parts(label: IntArray) -> int:
    """Labels from 0 on that are in use."""
    return int(np.count_nonzero(np.bincount(label[label >= 0])))


def _bits_per_image(z: NDArray[np.float32], cluster: IntArray) -> float:
    from clusterpipe.stages.numerics.coding_length import Code, group_statistics, partition_length

    known = cluster >= 0
    if not known.any():
        return float("nan")
    groups = group_statistics(z[known], cluster[known])
    nats = partition_length(groups, Code(EPSILON_SQUARED, model_cost=1.0))
    return nats / int(known.sum()) / float(np.log(2))


def _chance(ground: _Ground, method: Assignment, config: EvaluateConfig, seed: int) -> Values:
    """Metrics of the method's labels dealt out at random; the number of clusters has no chance.

    What agreement between seeds is by chance, 0, needs no draws.
    """
    generator = np.random.default_rng(seed)
    draws = [generator.permutation(method.label) for _ in range(config.permutations)]
    values = np.append(np.mean([_measured(ground, draw) for draw in draws], axis=0), 0)
    values[list(UNITS).index("effective_k")] = np.nan
    return np.asarray(values)


# ---------------------------------------------------------------- the report


def _confusion(
    truth: IntArray, method: Assignment, class_name: StringArray | None
) -> IntArray | None:
    from clusterpipe.stages.numerics.metrics import contingency

    if not (truth >= 0).any():
        return None
    classes = max(int(truth.max()) + 1, 0 if class_name is None else len(class_name))
    found = contingency(truth, np.asarray(method.label))
    confusion = np.zeros((classes, method.k), np.int64)
    confusion[: found.shape[0], : found.shape[1]] = found
    return confusion


def _protocol(
    assignments: Assignments,
    corrections: Corrections | None,
    parts: Mapping[str, NDArray[np.int64]],
    truth: IntArray,
    config: EvaluateConfig,
) -> str:
    chosen = assignments.methods[assignments.chosen]
    n, least = len(parts[ALL]), _objectives(assignments.methods)
    appended = len(truth) - n
    splits = ", ".join(f"{name} {len(rows):,}" for name, rows in parts.items() if name != ALL)
    small = ", ".join(name for name, rows in parts.items() if _refused(rows, truth, chosen))
    sentences = [
        f"fitted on {chosen.fitted_on or 'unknown rows'}, without labels",
        f"reported on all {n:,} images, {int((truth >= 0).sum()):,} of them labelled",
        f"{appended:,} appended later are left out" if appended else "",
        f"splits: {splits}" if splits else "",
        _fits(chosen, least),
        _choice(assignments),
        _corrected(corrections),
        f"silhouette and coding length on {min(n, config.sample):,} images, in {config.features}",
        f"chance: mean of {config.permutations} random labellings with the same sizes",
        f"no accuracy for {small}: under {ROWS_PER_CLUSTER} labelled images per cluster, where "
        "matching alone makes it large"
        if small
        else "",
    ]
    return "; ".join(sentence for sentence in sentences if sentence)


def _fits(method: Assignment, least: str) -> str:
    """Account of the fits: their number, the selected one, and what became of its labels."""
    seeds = len(method.label_per_seed)
    many = f"{seeds} independent fit{'s' if seeds > 1 else ''}"
    taught = f"a student of each learnt its labels ({method.head})" if method.finishes else ""
    if not least:
        return taught or "nothing was fitted, so seeds do not differ"
    return "; ".join(filter(None, [many, taught, f"the labels shown have least {least}"]))


def _objectives(methods: Mapping[str, Assignment]) -> str:
    """Objective of each method: once if it is the same for all; "" if there is none."""
    by_objective: dict[str, list[str]] = {}
    for name, method in methods.items():
        if method.objective:
            by_objective.setdefault(method.objective, []).append(name)
    if len(by_objective) <= 1:
        return next(iter(by_objective), "")
    return ", ".join(f"{what} ({', '.join(names)})" for what, names in by_objective.items())


def _choice(assignments: Assignments) -> str:
    """Account of the choice: the selected method, and the others' scores without labels."""
    names, score = assignments.selection_method, assignments.selection_score
    if names is None or score is None:
        return ""
    scores = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, score, strict=True))
    return f"the run stands by {assignments.chosen}; scores without labels: {scores}"


def _corrected(corrections: Corrections | None) -> str:
    """Account of a person's corrections; they are no fit, so that seeds do not differ."""
    if corrections is None:
        return ""
    count, placed = len(corrections.line), int((corrections.placed > 0).sum())
    return (
        f"{CORRECTED}: the clusters of {corrections.method} after {count:,} corrections by a "
        f"person, who placed {placed:,} images"
    )


def _refused(rows: NDArray[np.int64], truth: IntArray, method: Assignment) -> bool:
    """True if there is ground truth, but too little of it for accuracy."""
    labelled = rows[truth[rows] >= 0]
    return len(labelled) > 0 and _too_few(truth[labelled], np.asarray(method.label)[labelled])
