"""assign: puts each image into one of k clusters, and says how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.progress import Progress, silent
from clusterpipe.cache.rows import ConcatenatedRows, Rows, widths_of
from clusterpipe.cache.schema import (
    Assignments,
    Embeddings,
    KEstimate,
    Refined,
    StringArray,
)
from clusterpipe.cache.words import WordStore
from clusterpipe.stages.declaration import FolderInput, Input, Source, check, option, stage
from clusterpipe.stages.fits.choice import fit_and_judge, recorded
from clusterpipe.stages.fits.fitting import Data, finished
from clusterpipe.stages.fits.labelling import assigned, with_appended
from clusterpipe.stages.fits.method_names import BOTH, EMBEDDED, asked_for, part_of, possible
from clusterpipe.stages.heads import ALL, BY_WORDS, FINISHING
from clusterpipe.stages.heads.consensus import Consensus
from clusterpipe.stages.heads.zero_shot import ZeroShot
from clusterpipe.stages.sampling import (
    as_rows,
    described_rows,
    read_rows,
    read_views,
    rows_of_split,
    sample_of,
)
from clusterpipe.stages.words.head_words import Lexicon
from clusterpipe.stages.words.vocabulary import CLASSES, file_inputs
from clusterpipe.stages.words.word_features import Tower, check_prompts

SIDE_BY_SIDE = "embeddings and refined"  # what methods with `:both` cluster, in words
MOST_FITTED = 250_000


@dataclass(frozen=True)
class AssignConfig:
    """Settings of the assign stage."""

    table: ClassVar[str] = "assign"

    features: str = option(
        "refined",
        "'refined' clusters what refine made of the features, which gained accuracy on nearly "
        "every data set tried; 'embeddings' clusters them as the backbone gave them",
        choices=("embeddings", "refined"),
    )
    space: str = option(
        "",
        "the feature space to cluster when features = embeddings, such as clip; empty = the first "
        "one, 'concatenate' = all side by side. Refined features are of refine.space",
    )
    k: int = option(
        0, "the number of clusters; 0 = as estimated. Give it when you know it", least=0
    )
    methods: tuple[str, ...] = option(
        ("spherical-kmeans",),
        "one or more of "
        + ", ".join(f"{name} ({method.about})" for name, method in ALL.items())
        + ". The run stands by the first. With features = refined, 'turtle:embeddings' clusters "
        "them as they were embedded, and 'turtle:both' both side by side; so do others but kmeans. "
        "'auto' alone runs those of `candidates`, and stands by their consensus",
    )
    candidates: tuple[str, ...] = option(
        (
            "spherical-kmeans",
            "spherical-kmeans:embeddings",
            "spectral",
            "coding-length",
            "turtle",
            "turtle:embeddings",
            "turtle:both",
        ),
        "the methods whose fits 'auto' and consensus choose from, by how well a linear probe "
        "learns their labels. With features = embeddings those that name features are left out",
    )
    finish: str = option(
        "none",
        "a last step for every method: "
        + ", ".join(f"'{name}' ({head.about})" for name, head in FINISHING.items())
        + ", or 'none'",
        choices=("none", *FINISHING),
    )
    finish_distortion: str = option(
        "noise",
        "of self-label: how the student sees images: with 'noise', as 'neighbours' of theirs, or "
        "as augmented 'views' (embed with embed.views = 4 first; only with features = embeddings)",
        choices=("noise", "neighbours", "views"),
    )
    finish_share: float = option(
        0.8,
        "of self-label: the share of each cluster's images, surest first, that teach",
        above=0,
        most=1,
    )
    finish_rounds: int = option(
        1, "of self-label: rounds; from the second on, the student learns its own labels", least=1
    )
    seeds: int = option(
        5,
        "independent fits. The one of lowest inertia gives the labels (or of least probe error: of "
        "those that are about the least, the most typical); all are kept to tell how much chance "
        "decides",
        least=1,
    )
    restarts: int = option(
        4,
        "runs per fit, of which the one of lowest inertia counts. More is steadier and slower",
        least=1,
    )
    iterations: int = option(25, "k-means iterations per run", least=1)
    center: bool = option(
        True,
        "subtract the mean (kmeans) or the mean direction (all others) first. Backbone features "
        "share a large common part; it helped on every data set tried",
    )
    temperature: float = option(
        0.0,
        "of the softmax that gives probabilities; larger is less sure. 0 = such that the mean "
        "probability is the share of images on which independent fits agree",
        least=0,
    )
    neighbours: int = option(
        0,
        "of spectral: images that each image is joined to. More merges small clusters, fewer "
        "splits large ones. 0 = 15, 40 or 100, whichever gives the clusters that a linear probe "
        "learns best",
        least=0,
    )
    exact_up_to: int = option(
        10_000,
        "of spectral: up to so many images (of the fit) the graph joins images to each other; "
        "beyond, to landmarks, in time and memory that grow with their number only",
        least=0,
    )
    landmarks: int = option(
        1024,
        "of spectral: how many there are beyond exact_up_to; at least 5 per cluster are taken",
        least=2,
    )
    components: int = option(
        32,
        "of coding-length: principal components that are coded; at most half as many as the "
        "average cluster has images",
        least=1,
    )
    rounds: int = option(
        15,
        "of coding-length: times that images may move to the cluster that codes them best",
        least=0,
    )
    scp_preset: str = option(
        "fast",
        "of scp: 'fast' is a narrow network in white components that starts from annealed k-means. "
        "'paper' is the one published, from a random start: for tens of thousands of images",
        choices=("fast", "paper"),
    )
    scp_positives: str = option(
        "neighbours",
        "of scp: what is to be alike: an image and its neighbours, 'views' of an image (embed with "
        "embed.views = 4 first; only with features = embeddings), or an image with 'noise'",
        choices=("neighbours", "views", "noise"),
    )
    scp_start: str = option(
        "clusters",
        "of scp, 'fast': what it learns first, the labels of annealed k-means (clusters), or "
        "nothing (random), as 'paper' always starts",
        choices=("clusters", "random"),
    )
    scp_epochs: int = option(
        0,
        "of scp: passes over the images; 0 = as many as make 100 steps after the start, and from a "
        "random start 30",
        least=0,
    )
    scp_alpha: float = option(
        0.0,
        "of scp: weight of balance, which draws clusters to the sizes of scp_prior; too little and "
        "clusters die out. 0 = of two that are tried, the one whose clusters a linear probe learns "
        "better, unless one comes out tiny",
        least=0,
    )
    scp_prior: float = option(
        1.0,
        "of scp, 'fast': 1 = the sizes that the start found, 0 = equal sizes, as from a random "
        "start; between, a power of the former",
        least=0,
    )
    scp_consistency: float = option(1.0, "of scp: weight of the two of a pair being alike", least=0)
    scp_confidence: float = option(1.0, "of scp: weight of being sure", least=0)
    temi_preset: str = option(
        "fast",
        "of temi: 'fast' has narrow heads in white components that start from annealed k-means. "
        "'paper' is the recipe as published, from a random start: hours without a GPU",
        choices=("fast", "paper"),
    )
    temi_heads: int = option(
        0,
        "of temi: heads per fit, of which that of least loss counts; 0 = 4 ('paper': 50)",
        least=0,
    )
    temi_epochs: int = option(
        0, "of temi: passes over the images; 0 = as many as make 100 steps ('paper': 200)", least=0
    )
    temi_beta: float = option(
        0.6, "of temi: the smaller, the more equal clusters become; 0 to 1", above=0, most=1
    )
    turtle_preset: str = option(
        "fast",
        "of turtle: 'fast' starts from annealed k-means in components that are white between "
        "neighbours: seconds to minutes. 'paper' is the recipe as published, from a random start: "
        "minutes to hours, and for clusters of about equal size",
        choices=("fast", "paper"),
    )
    turtle_steps: int = option(
        0, "of turtle: outer steps; 0 = 40 ('fast') or the published 6,000 ('paper')", least=0
    )
    turtle_balance: float = option(
        10.0,
        "of turtle: how firmly clusters are held to the sizes of turtle_prior; 0 = not at all",
        least=0,
    )
    turtle_prior: float = option(
        1.0,
        "of turtle, 'fast': 1 = the sizes that the start found, 0 = equal sizes, as 'paper' always "
        "has; between, a power of the former",
        least=0,
    )
    top: int = option(5, "how many clusters are kept per image, likeliest first", least=1)
    exemplars: int = option(16, "how many images nearest the centre are kept per cluster", least=1)
    class_names: str = option(
        "",
        "of zero-shot: the names, one cluster each in their order, whatever k is; those that no "
        "image is likeliest of are left out. A text file with one name per line (of a .csv, the "
        "first column), a file of their text features (as in "
        "caption.vocabulary), or 'classes', the class names of the source: that leaks the answer "
        "and the number of clusters. Zero-shot is what clustering without names is measured by",
    )
    vocabulary: str = option(
        "",
        "of tac and tac-trained: the words, of which those are picked that tell the images apart; "
        "as in caption.vocabulary. Empty = the backbone's own words if it has a closed vocabulary, "
        "else imagenet-21k. Words that do not suit the pictures do harm",
    )
    word_space: str = option(
        "",
        "of zero-shot and tac: the feature space they cluster, as it was embedded, whatever "
        "features the other methods do, such as clip; empty = the first one that any words can be "
        "scored in",
    )
    prompt: tuple[str, ...] = option(
        ("a photo of a {}",), "of zero-shot and tac: as caption.prompt"
    )
    nouns: int = option(
        5, "of tac: words picked for each of n / 300 or 3 k centres of the images", least=1
    )
    text_temperature: float = option(
        0.0,
        "of tac: how the words an image is like are mixed; smaller takes fewer. 0 = 0.05, and "
        "0.005 (as published) without center, where cosines with words differ less",
        least=0,
    )
    tac_epochs: int = option(
        0,
        "of tac-trained: passes over the images, in at least 100 steps. 0 = as published: 20, and "
        "beyond 100 clusters 100",
        least=0,
    )
    tac_balance: float = option(
        5.0,
        "of tac-trained: weight of clusters of equal size. Lower it where sizes differ much",
        least=0,
    )
    fit_split: str = option(
        "",
        "fit on this split only, such as train; all images are assigned. Empty = fit on all. For "
        "refined features set refine.fit_split alike",
    )
    sample: int = option(
        0,
        f"fit on so many images, drawn at random; 0 = all, up to {MOST_FITTED:,}. All images are "
        "assigned",
        least=0,
    )
    device: str = option(
        "auto", "that encodes words: auto, cpu, cuda, cuda:1 or mps", affects_result=False
    )
    download: bool = option(
        False, "allow fetching a text tower that is not on disk", affects_result=False
    )


def _reads(config: AssignConfig) -> Mapping[str, Source]:
    refined = config.features == "refined"
    if refined and config.space:
        raise UsageError(
            f"assign.space = {config.space!r} names a space of the embeddings: set refine.space, "
            "or assign.features = embeddings"
        )
    inputs: dict[str, Source] = {}
    methods = possible(config.methods, config.candidates)
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
    if config.fit_split:
        inputs["split"] = Input(Embeddings, "split", optional=True)
    return inputs


def _wanting_views(config: AssignConfig, methods: set[str]) -> str:
    """The setting that asks for augmented views, if one does."""
    if config.scp_positives == "views" and "scp" in methods:
        return "scp_positives"
    finishes = config.finish in FINISHING and config.finish_distortion == "views"
    return "finish_distortion" if finishes else ""


def _views(setting: str, refined: bool) -> Input:
    if refined:
        raise UsageError(
            f"assign.{setting} = 'views' learns from features as embedded: set "
            "assign.features = embeddings"
        )
    return Input(Embeddings, "{space}/views", optional=True)


def _features_read(refined: bool) -> dict[str, Source]:
    if not refined:
        return {"features": Input(Embeddings, "{space}/features")}
    return {
        "features": Input(Refined, "features"),
        "refined_on": Input(Refined, "@fitted_on"),
    }


def _words_read(config: AssignConfig, methods: set[str]) -> dict[str, Source]:
    """What methods that read words need besides; alone, their features are the only ones."""
    inputs: dict[str, Source] = {
        "worded": Input(Embeddings, "{word_space}/features"),
        "word_space": Input(Embeddings, "{word_space}"),
        "backbone": Input(Embeddings, "{word_space}@backbone"),
        "weights": Input(Embeddings, "{word_space}@weights"),
        "words": Input(Embeddings, "{word_space}@words"),
        "folder": FolderInput("words"),
    }
    names = config.class_names if ZeroShot.name in methods else ""
    vocabulary = config.vocabulary if methods & set(BY_WORDS) - {ZeroShot.name} else ""
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


@stage(version=7, config=AssignConfig, reads=_reads, writes=Assignments, extend=_extended)
def assign(
    features: Rows | None = None,
    k: int = 0,
    config: AssignConfig = AssignConfig(),
    *,
    split: StringArray | None = None,
    views: Rows | None = None,
    embedded: Rows | None = None,
    embedded_space: str = "",
    refined_on: str = "",
    worded: Rows | None = None,
    word_space: str = "",
    backbone: str = "",
    weights: str = "",
    words: str = "",
    class_name: StringArray | None = None,
    folder: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Assignments:
    """Assign every image to one of k clusters, with probabilities.

    features: (n, d), of any length and precision; `k` may stand in `config.k` instead. Each method
    (stages.heads) is fitted on the rows of `config.fit_split` (or all), or a stated sample of them,
    held in memory as float32; every row is then assigned block by block. Clusters are numbered from
    the largest down (as fitted). Images not seen here are assigned by the same code: see
    `heads.load`. Clusters that no image is in are left out, so there may be fewer than k:
    `effective_k`. `refined_on` says which rows refined features were fitted on; without it (or
    `embedded`) the features are recorded as embeddings, whatever `config.features` says.

    Methods that read words (`heads.BY_WORDS`) take those of `config.class_names` (zero-shot: as
    many clusters, whatever k is) or `config.vocabulary`, and cluster `worded` (n, d), raw features
    of a space that words can be scored in; `features` if they are not given. That space is
    `word_space`, made by `backbone` ("family:model@weights"), which scores "open", "closed" or no
    `words`; encoded words are kept in `folder`. The other arguments are what the pipeline knows.

    A method may name other features than `features`: 'turtle:embeddings' clusters `embedded`
    (n, e), features of the same images before they were refined, of `embedded_space`, and
    'turtle:both' both side by side. A consensus and the choice without labels then look at both;
    without `embedded`, candidates that name it are left out.

    Where several methods ran, their fits are measured without labels (`heads.choice`).

    Raises UsageError for a k that the rows cannot fill, a split that does not exist, features that
    are not numbers or all the same, words that cannot be scored, or an unusable setting; and
    WeightsMissing when the text tower is not on disk.
    """
    config = check(config)
    asked = asked_for(config.methods, config.candidates, several=embedded is not None)
    names, members = asked.names, asked.members
    k = 1 if set(names) == {ZeroShot.name} else _number_of_clusters(k, config)
    given = features if features is not None else worded
    if given is None:
        raise UsageError("there are no features to cluster")
    given = as_rows(given)
    _check(given, k, config)
    data: dict[str, Data] = {}
    judged: Data | None = None
    if set(names) - set(BY_WORDS):
        refined = bool(refined_on) or embedded is not None
        plain = _read(given, split, config, refined_on, seed)
        plain = replace(plain, space="refined" if refined else _space(config))
        if views is not None:
            plain = replace(plain, views=read_views(views, plain.index))
        parts = _spaces(plain, embedded, embedded_space, split, config, seed)
        data |= {name: parts[part_of(name)] for name in dict.fromkeys((*members, *names))}
        judged = parts.get(BOTH, plain)
        data |= {name: judged for name in names if name == Consensus.name}
    if set(names) & set(BY_WORDS):
        tower = Tower(backbone, weights, config.device, config.download)
        store = WordStore(folder) if folder else None
        lexicon = Lexicon(tower, words, config.prompt, class_name, store, progress)
        plain = _read(given if worded is None else worded, split, config, "", seed)
        plain = replace(plain, space="/".join(filter(None, ("embeddings", word_space))))
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
    scores = {name: found.scores[name] for name in names if name in found.scores}
    return Assignments(chosen=asked.chosen, methods=methods, **recorded(scores))


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


# ---------------------------------------------------------------- what is read


def _read(
    features: Rows, split: StringArray | None, config: AssignConfig, refined_on: str, seed: int
) -> Data:
    candidates = rows_of_split(
        features.shape[0], split, config.fit_split, setting="assign.fit_split"
    )
    index = sample_of(candidates, config.sample or MOST_FITTED, seed)
    fitted_on = described_rows(len(index), len(candidates), config.fit_split)
    if refined_on not in ("", fitted_on):
        fitted_on += f" (the features refined on {refined_on})"
    return Data(features, widths_of(features), index, read_rows(features, index), fitted_on)


def _spaces(
    plain: Data,
    embedded: Rows | None,
    embedded_space: str,
    split: StringArray | None,
    config: AssignConfig,
    seed: int,
) -> dict[str, Data]:
    """The features that methods may name."""
    if embedded is None:
        return {"": plain}
    own = _read(embedded, split, config, "", seed)
    own = replace(own, space="/".join(filter(None, ("embeddings", embedded_space))))
    both = ConcatenatedRows([embedded, plain.features])
    rows = ConcatenatedRows([own.rows, plain.rows])[:]
    joined = replace(
        plain, features=both, widths=widths_of(both), rows=rows, space=SIDE_BY_SIDE, views=None
    )
    refined = replace(plain, start=sum(own.widths))
    return {"": refined, EMBEDDED: own, BOTH: joined}


def _with_words(data: Data, lexicon: Lexicon, method: str, config: AssignConfig) -> Data:
    """The data with the words that the method reads."""
    named = method == ZeroShot.name
    field = "class_names" if named else "vocabulary"
    setting, name = f"assign.{field}", getattr(config, field)
    if named and not name:
        raise UsageError(
            "zero-shot needs the names of the classes: give a list in assign.class_names"
        )
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
    from clusterpipe.stages.numerics.preparation import are_equal

    m = len(data.index)
    if k > m:
        raise UsageError(f"{m} images cannot be fitted with {k} clusters; lower assign.k")
    if k > 1 and are_equal(data.rows):
        raise UsageError("all images have the same features: there is one cluster, not more")


def _space(config: AssignConfig) -> str:
    """What rows that nothing says were refined are recorded as."""
    return f"embeddings/{config.space}" if config.space else "embeddings"
