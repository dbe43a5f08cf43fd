"""assign: puts each image into one of k clusters, and says how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import ConcatenatedRows, Rows, widths_of
from clusterpipe.cache.schema import (
    Assignments,
    Curation,
    Embeddings,
    IntArray,
    KEstimate,
    Refined,
    StringArray,
)
from clusterpipe.cache.words import WordStore
from clusterpipe.stages.declaration import Compute, FolderInput, Input, Read, check, option, stage
from clusterpipe.stages.fits.choice import fit_and_judge, recorded, standing
from clusterpipe.stages.fits.fitting import Data, finished
from clusterpipe.stages.fits.labelling import assigned, with_appended, without_rows
from clusterpipe.stages.fits.method_names import AUTO, BOTH, EMBEDDED, asked_for, part_of, possible
from clusterpipe.stages.heads import ALL, BY_WORDS, FINISHING, kind_of, table_of, tables_of
from clusterpipe.stages.heads.consensus import Consensus
from clusterpipe.stages.heads.scp import Scp
from clusterpipe.stages.heads.zero_shot import ZeroShot
from clusterpipe.stages.sampling import (
    as_rows,
    described_rows,
    different,
    read_rows,
    read_views,
    rows_of_split,
    sameness,
    sample_of,
)
from clusterpipe.stages.words.head_words import Lexicon
from clusterpipe.stages.words.vocabulary import CLASSES, file_inputs
from clusterpipe.stages.words.word_features import Tower, check_prompts

SIDE_BY_SIDE = "embeddings and refined"  # what methods with `:both` cluster, in words
MOST_FITTED = 250_000
LEAST_DIFFERENT = 2  # images per cluster that must be left where copies take no part in the fit


@dataclass(frozen=True)
class AssignConfig:
    """Settings of the assign stage, and in `heads` the tables of settings of its heads.

    In Python a head with settings may stand among the methods, as in `methods=(Scp(alpha=3),
    "spectral")`; `heads=(Turtle(balance=3),)` sets those of a head that is named otherwise, such as
    "turtle:both" or a candidate of 'auto'. All heads' tables are then in `heads`, by name.
    """

    table: ClassVar[str] = "assign"

    features: str = option(
        "refined",
        "Features to cluster: refined ones, or those as embedded.",
        choices=("embeddings", "refined"),
    )
    space: str = option(
        "",
        "Feature space to cluster with features = embeddings, such as clip. Empty = the "
        "first, 'concatenate' = all side by side.",
    )
    k: int = option(0, "Number of clusters. 0 = as estimated.", least=0)
    methods: tuple[str, ...] = option(
        ("annealed",),
        "Heads to fit; the run stands by the first, or with 'auto' by a consensus. "
        "NAME:embeddings clusters features as embedded, NAME:both both.",
    )
    finish: str = option(
        "none",
        "Last step for every method: 'self-label' has a small network learn its labels.",
        choices=("none", *FINISHING),
    )
    seeds: int = option(
        3,
        "Number of independent fits. The best gives the labels; the spread over all is "
        "reported as stability.",
        least=1,
    )
    restarts: int = option(
        4,
        "Number of k-means runs per fit; the best of n counts.",
        least=1,
    )
    iterations: int = option(25, "Iterations per k-means run.", least=1)
    center: bool = option(
        True,
        "Subtract the mean (direction) first.",
    )
    temperature: float = option(
        0.0,
        "Temperature of probabilities; larger is less sure. 0 = calibrated to the agreement "
        "with k-means on random halves.",
        least=0,
    )
    top: int = option(5, "Likeliest clusters to keep per image.", least=1)
    exemplars: int = option(16, "Images nearest the centre to keep per cluster.", least=1)
    word_space: str = option(
        "",
        "Feature space of zero-shot, tac and tac-trained, such as clip. Empty = the first one"
        " that words can be scored in.",
    )
    prompt: tuple[str, ...] = option(
        ("a photo of a {}",), "Sentences of zero-shot and tac; as caption.prompt."
    )
    fit_split: str = option(
        "",
        "Fit on this split only, such as train; all images are assigned. Empty = all. Set "
        "refine.fit_split alike.",
    )
    sample: int = option(
        0,
        f"Images to fit on, drawn at random; 0 = all, up to {MOST_FITTED:,}. All are assigned.",
        least=0,
    )
    reject: bool = option(
        False,
        "Leave curate's outliers in no cluster (-1).",
        absent=False,
    )
    heads: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        methods = self.methods if isinstance(self.methods, list | tuple) else (self.methods,)
        settings = self.heads.values() if isinstance(self.heads, Mapping) else self.heads
        given = [method for method in methods if hasattr(method, "name")]
        names = tuple(getattr(method, "name", method) for method in methods)
        object.__setattr__(self, "methods", names)
        object.__setattr__(self, "heads", tables_of([*settings, *given]))

    @property
    def candidates(self) -> tuple[str, ...]:
        """The methods that auto and consensus choose from."""
        return tuple(self.heads["consensus"].candidates)

    @property
    def rival(self) -> str:
        """The method that auto takes where it is better than the vote; '' for none."""
        return str(self.heads["consensus"].rival)

    def in_use(self) -> dict[str, Any]:
        """The tables of the heads that will run, by name."""
        kinds = {kind_of(name) for name in possible(self.methods, self.candidates, self.rival)}
        kinds |= {self.finish, Consensus.name if self.methods == (AUTO,) else ""}
        kinds |= {Consensus.name} & set(self.methods)
        names = {table_of(head) for kind, head in {**ALL, **FINISHING}.items() if kind in kinds}
        return {name: self.heads[name] for name in sorted(names & set(self.heads))}


@dataclass(frozen=True)
class Features:
    """Features (n, d) of images, of any length and precision, and what is known of them.

    name: what they are, as the artifact will say; fitted_on: the rows that refined features were
    fitted on, in words; views: (n, v, d) augmented views of the same images.
    """

    rows: Any
    name: str = ""
    fitted_on: str = ""
    views: Rows | None = None


@dataclass(frozen=True)
class WordedFeatures:
    """Raw features (n, d) of a space that words can be scored in, and what scores them.

    backbone: "family:model@weights" that made them, of these `weights`, which scores "open",
    "closed" or no `words`, "" if that is not known; classes: the class names of the source;
    folder: where encoded words are kept.
    """

    features: Features | None = None
    backbone: str = ""
    weights: str = ""
    words: str = ""
    classes: StringArray | None = None
    folder: Path | None = None


def _reads(config: AssignConfig) -> Mapping[str, Read]:
    refined = config.features == "refined"
    if refined and config.space:
        raise UsageError(
            f"assign.space = {config.space!r} names a space of the embeddings: set refine.space, "
            "or assign.features = embeddings"
        )
    inputs: dict[str, Read] = {}
    methods = possible(config.methods, config.candidates, config.rival)
    if not methods <= set(BY_WORDS) or not methods:
        inputs |= _features_read(refined)
    if refined and any(":" in name for name in methods):
        inputs["embedded"] = Input(Embeddings, "{refined_space}/features")
        inputs["embedded_space"] = Input(Embeddings, "{refined_space}")
    if methods & set(BY_WORDS):
        inputs |= _words_read(config, methods)
    if config.k == 0 and methods != {ZeroShot.name}:
        inputs["k"] = Input(KEstimate, "k")
    if wants := _wanting_views(config, methods):
        inputs["views"] = _views(wants, refined)
    if config.reject:
        inputs["outlier"] = Input(Curation, "outlier")
    if config.fit_split:
        inputs["split"] = Input(Embeddings, "split", optional=True)
    return inputs


def _wanting_views(config: AssignConfig, methods: set[str]) -> str:
    """The setting that asks for augmented views, if one does."""
    learnt = {kind_of(name) for name in methods}
    if Scp.name in learnt and config.heads["scp"].positives == "views":
        return "scp.positives"
    finishes = config.finish in FINISHING and config.heads["self_label"].distortion == "views"
    return "self_label.distortion" if finishes else ""


def _views(setting: str, refined: bool) -> Input:
    if refined:
        raise UsageError(
            f"assign.{setting} = 'views' learns from features as embedded: set "
            "assign.features = embeddings"
        )
    return Input(Embeddings, "{space}/views", optional=True)


def _features_read(refined: bool) -> dict[str, Read]:
    if not refined:
        return {"features": Input(Embeddings, "{space}/features")}
    return {
        "features": Input(Refined, "features"),
        "refined_on": Input(Refined, "@fitted_on"),
    }


def _words_read(config: AssignConfig, methods: set[str]) -> dict[str, Read]:
    """Inputs of methods that read words; alone, their features are the only ones."""
    inputs: dict[str, Read] = {
        "worded": Input(Embeddings, "{word_space}/features"),
        "word_space": Input(Embeddings, "{word_space}"),
        "backbone": Input(Embeddings, "{word_space}@backbone"),
        "weights": Input(Embeddings, "{word_space}@weights"),
        "words": Input(Embeddings, "{word_space}@words"),
        "folder": FolderInput("words"),
    }
    names = config.heads["zero_shot"].class_names if ZeroShot.name in methods else ""
    by_vocabulary = methods & set(BY_WORDS) - {ZeroShot.name}
    vocabulary = config.heads["tac"].vocabulary if by_vocabulary else ""
    if CLASSES in (names, vocabulary):
        inputs["class_name"] = Input(Embeddings, "class_name", optional=True)
    inputs |= file_inputs(names, "class_names") | file_inputs(vocabulary, "vocabulary")
    return inputs


def _extended(previous: Assignments, arguments: Mapping[str, Any], before: int) -> Assignments:
    """Appended images are assigned by the heads as they are; nothing else changes."""
    methods = {
        name: with_appended(method, _read_by(name, arguments), before)
        for name, method in previous.methods.items()
    }
    return replace(previous, methods=methods)


def _read_by(method: str, arguments: Mapping[str, Any]) -> Rows:
    """The features, of those that the stage reads, that a method clusters."""
    features: Rows = arguments["worded" if method in BY_WORDS else "features"]
    embedded: Rows | None = arguments.get("embedded")
    part = BOTH if method == Consensus.name else part_of(method)
    if embedded is None or method in BY_WORDS or not part:
        return features
    return embedded if part == EMBEDDED else ConcatenatedRows([embedded, features])


def _arguments(
    config: AssignConfig,
    features: Rows | None = None,
    refined_on: str = "",
    views: Rows | None = None,
    embedded: Rows | None = None,
    embedded_space: str = "",
    worded: Rows | None = None,
    word_space: str = "",
    backbone: str = "",
    weights: str = "",
    words: str = "",
    class_name: StringArray | None = None,
    folder: Path | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Arguments of `assign`, from the values that `_reads` names."""
    refined = config.features == "refined"
    space = "refined" if refined else _embeddings(config.space)
    before = Features(embedded, _embeddings(embedded_space))
    scored = None if worded is None else Features(worded, _embeddings(word_space))
    return {
        "features": None if features is None else Features(features, space, refined_on, views),
        "config": config,
        "embedded": None if embedded is None else before,
        "worded": WordedFeatures(scored, backbone, weights, words, class_name, folder),
        **others,
    }


@stage(
    version=9,
    config=AssignConfig,
    reads=_reads,
    writes=Assignments,
    extend=_extended,
    arguments=_arguments,
)
def assign(
    features: Any = None,
    k: int = 0,
    config: AssignConfig = AssignConfig(),
    *,
    split: StringArray | None = None,
    outlier: IntArray | None = None,
    embedded: Any = None,
    worded: WordedFeatures = WordedFeatures(),
    compute: Compute = Compute(),
    seed: int = 0,
    progress: Progress = silent,
) -> Assignments:
    """Assign every image to one of k clusters, with probabilities.

    features: (n, d), or `Features`, which also say what they are; `k` may stand in `config.k`
    instead. Each method (stages.heads) is fitted on the rows of `config.fit_split` of `split` (n,),
    or all, or a stated sample of them, held in memory as float32, but those that nearly repeat an
    earlier one (`numerics.near_copies`), unless that leaves fewer than two per cluster; every row
    is then assigned block by block. Clusters are numbered from the largest down (as fitted). Images
    not seen here are assigned by the same code: see `heads.load`. Clusters that no image is in are
    left out, so there may be fewer than k: `effective_k`. Without a name, features are recorded as
    refined if they or `embedded` say so, else as embeddings, whatever `config.features` says.

    Methods that read words (`heads.BY_WORDS`) take those of `ZeroShot.class_names` (as many
    clusters, whatever k is) or `TextAided.vocabulary`, and cluster `worded.features`, or
    `features` if they are not given.

    A method may name other features than `features`: 'turtle:embeddings' clusters `embedded`
    (n, e), or `Features`, of the same images before they were refined, and 'turtle:both' both side
    by side. A consensus and the choice without labels then look at both; without `embedded`,
    candidates that name it are left out.

    'auto' stands by the vote, or by its rival where `fits.choice.standing` says so. Where several
    methods ran, their fits are measured without labels (`fits.choice`).

    With `config.reject`, images whose `outlier` (n,) is 1 are in no cluster: -1, of probability 0,
    by every method and seed. They take part in the fit, and keep their likeliest clusters.

    Raises UsageError for a k that the rows cannot fill, a split that does not exist, features that
    are not numbers or all the same, words that cannot be scored, or an unusable setting; and
    WeightsMissing when the text tower is not on disk.
    """
    config = check(config)
    asked = asked_for(
        config.methods, config.candidates, several=embedded is not None, rival=config.rival
    )
    names, members = asked.names, asked.members
    k = 1 if set(names) == {ZeroShot.name} else _number_of_clusters(k, config)
    refined = embedded is not None or (isinstance(features, Features) and features.fitted_on)
    given = _features(
        features if features is not None else worded.features,
        "refined" if refined else _embeddings(config.space),
    )
    _check(given.rows, k, config)
    fit = _rows_of_fit(given.rows, split, k, config, seed)
    data: dict[str, Data] = {}
    judged: Data | None = None
    if set(names) - set(BY_WORDS):
        parts = _spaces(given, embedded, fit)
        data |= {name: parts[part_of(name)] for name in dict.fromkeys((*members, *names))}
        judged = parts.get(BOTH, parts[""])
        data |= {name: judged for name in names if name == Consensus.name}
    if set(names) & set(BY_WORDS):
        plain = _read(_features(worded.features or given, _embeddings("")), fit)
        lexicon = _lexicon(worded, config, compute, progress)
        alone = [name for name in names if name in BY_WORDS]
        data |= {name: _with_words(plain, lexicon, name, config) for name in alone}
    for read in data.values():
        _refuse_too_few(read, k)
    spaces = judged or data[names[0]]
    found = fit_and_judge(data, spaces, k, config, members=members, seed=seed, progress=progress)
    kept = {name: found.fitted[name] for name in names}
    if config.finish in FINISHING:
        kept = finished(kept, data, config, seed=seed, progress=progress)
    label = partial(assigned, top=config.top, exemplars=config.exemplars, progress=progress)
    methods = {name: label(name, data[name], fitted) for name, fitted in kept.items()}
    if config.reject:
        outliers = _outliers(outlier, given.rows.shape[0])
        methods = {name: without_rows(method, outliers) for name, method in methods.items()}
    scores = {name: found.scores[name] for name in names if name in found.scores}
    chosen = standing(asked.chosen, asked.rival, found.scores)
    return Assignments(chosen=chosen, methods=methods, **recorded(scores))


# ---------------------------------------------------------------- what is asked for


def _number_of_clusters(k: int, config: AssignConfig) -> int:
    if k > 0 and config.k > 0 and k != config.k:
        raise UsageError(f"assign.k = {config.k}, but {k} clusters are asked for")
    if k <= 0 and config.k <= 0:
        raise UsageError("the number of clusters is missing: give assign.k, or run estimate-k")
    return int(k if k > 0 else config.k)


def _check(features: Rows, k: int, config: AssignConfig) -> None:
    check_prompts(config.prompt, setting="assign.prompt")
    n = features.shape[0]
    if n < 2:
        raise UsageError(f"clustering needs at least 2 images, not {n}")
    if k > n:
        raise UsageError(f"{n:,} images cannot fill {k:,} clusters; lower assign.k")


def _outliers(outlier: IntArray | None, n: int) -> NDArray[np.bool_]:
    if outlier is None:
        raise UsageError("assign.reject needs the outliers that curate finds: give `outlier`")
    if len(outlier) != n:
        raise UsageError(f"{n} rows of features, but {len(outlier)} that may be outliers")
    return np.asarray(outlier) > 0


# ---------------------------------------------------------------- what is read


def _features(given: Any, name: str) -> Features:
    """Rows of any kind as `Features`, with this name if they have none. Raises UsageError."""
    if given is None:
        raise UsageError("there are no features to cluster")
    features = given if isinstance(given, Features) else Features(given)
    return replace(features, rows=as_rows(features.rows), name=features.name or name)


@dataclass(frozen=True)
class _RowsOfFit:
    """The numbers (m,) of the rows to fit on, ascending, and what they are in words."""

    index: NDArray[np.int64]
    told: str


def _rows_of_fit(
    features: Rows, split: StringArray | None, k: int, config: AssignConfig, seed: int
) -> _RowsOfFit:
    """Rows of the split, or a sample of them, of copies the first: the others are only assigned."""
    n = features.shape[0]
    candidates = rows_of_split(n, split, config.fit_split, setting="assign.fit_split")
    index = sample_of(candidates, config.sample or MOST_FITTED, seed)
    told = described_rows(len(index), len(candidates), config.fit_split)
    once = different(read_rows(features, index), at_least=LEAST_DIFFERENT * k, seed=seed)
    return _RowsOfFit(index[once], told)


def _read(features: Features, fit: _RowsOfFit) -> Data:
    rows, index, fitted_on = features.rows, fit.index, fit.told
    if features.fitted_on not in ("", fitted_on):
        fitted_on += f" (the features refined on {features.fitted_on})"
    views = None if features.views is None else read_views(features.views, index)
    return Data(
        rows,
        widths_of(rows),
        index,
        read_rows(rows, index),
        fitted_on,
        space=features.name,
        views=views,
    )


def _spaces(features: Features, embedded: Any, fit: _RowsOfFit) -> dict[str, Data]:
    """The features that methods may name."""
    plain = _read(features, fit)
    if embedded is None:
        return {"": plain}
    before = _features(embedded, _embeddings(""))
    n, m = features.rows.shape[0], before.rows.shape[0]
    if n != m:
        raise UsageError(f"{n} rows of features, but {m} of them before refinement")
    own = _read(before, fit)
    both = ConcatenatedRows([own.features, plain.features])
    rows = ConcatenatedRows([own.rows, plain.rows])[:]
    joined = replace(
        plain, features=both, widths=widths_of(both), rows=rows, space=SIDE_BY_SIDE, views=None
    )
    refined = replace(plain, start=sum(own.widths))
    return {"": refined, EMBEDDED: own, BOTH: joined}


def _lexicon(
    worded: WordedFeatures, config: AssignConfig, compute: Compute, progress: Progress
) -> Lexicon:
    tower = Tower(worded.backbone, worded.weights, compute.device, compute.download)
    store = WordStore(worded.folder) if worded.folder else None
    return Lexicon(tower, worded.words, config.prompt, worded.classes, store, progress)


def _with_words(data: Data, lexicon: Lexicon, method: str, config: AssignConfig) -> Data:
    """The data with the words that the method reads."""
    named = method == ZeroShot.name
    table, own = ("zero_shot", "class_names") if named else ("tac", "vocabulary")
    setting, name = f"assign.{table}.{own}", getattr(config.heads[table], own)
    if named and not name:
        raise UsageError(f"zero-shot needs the names of the classes: give a list in {setting}")
    found = lexicon.look_up(name, setting=setting)
    d, width = found.words.feature.shape[1], data.rows.shape[1]
    if d != width:
        raise UsageError(
            f"the features are {width} wide, those of {found.about} {d}: they are not from one "
            "model. Name the space of the same model in assign.word_space"
        )
    images = "no image: each goes to the likeliest of" if named else f"{data.fitted_on} and"
    return replace(data, words=found.words, fitted_on=f"{images} {found.about}")


def _refuse_too_few(data: Data, k: int) -> None:
    m = len(data.index)
    if k > m:
        raise UsageError(f"{m} images cannot be fitted with {k} clusters; lower assign.k")
    if k > 1 and (why := sameness(data.rows)):
        raise UsageError(f"{why}: there is one cluster, not more")


def _embeddings(space: str) -> str:
    return f"embeddings/{space}" if space else "embeddings"
