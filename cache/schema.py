"""The artifacts: what each HDF5 file holds, as frozen dataclasses that are also its schema.

A field made by `dataset` is one HDF5 dataset, by `attribute` one HDF5 attribute, by `members` a
group of plain arrays, and by `groups` one HDF5 group per name (`/<space>/features`). The symbols
in `dims` (`n` images, `d` backbone width, `e` refined width, `k` clusters, ...) must agree within
a file. Stages meet here and nowhere else.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.rows import Rows

FORMAT = "clusterpipe"

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
StringArray: TypeAlias = NDArray[np.object_]  # or of dtype TEXT, whose items are strings as well
TEXT: Any = np.dtypes.StringDType()  # holds a million short strings in 16 MB, not in 60
Kind: TypeAlias = Literal["int", "float", "str"]


@dataclass(frozen=True)
class Dataset:
    """One HDF5 dataset: the symbols of its dimensions, its kind, unit and meaning.

    An `address` tells where data lie, and is no part of the content that they are.
    """

    dims: str
    kind: Kind
    doc: str
    unit: str = ""
    optional: bool = False
    path: str = ""
    address: bool = False


@dataclass(frozen=True)
class Attribute:
    """One HDF5 attribute of the root or of a group."""

    doc: str


@dataclass(frozen=True)
class Members:
    """A group whose every member is a plain array, under names of its own (`/head/weight`)."""

    doc: str


@dataclass(frozen=True)
class Groups:
    """One group per name, each with the fields of dataclass `of`."""

    of: type
    doc: str


def dataset(
    dims: str,
    kind: Kind,
    *,
    doc: str,
    unit: str = "",
    optional: bool = False,
    path: str = "",
    address: bool = False,
) -> Any:
    """Declares a dataset; `path` is its place in the group when that is not the field's name."""
    spec = Dataset(dims, kind, doc, unit, optional, path, address)
    return (
        field(default=None, metadata={"hdf5": spec}) if optional else field(metadata={"hdf5": spec})
    )


def attribute(*, doc: str, default: Any = "") -> Any:
    """Declares an attribute (a string, number or truth value)."""
    return field(default=default, metadata={"hdf5": Attribute(doc)})


def members(*, doc: str) -> Any:
    """Declares a group of plain arrays."""
    return field(default_factory=dict, metadata={"hdf5": Members(doc)})


def groups(of: type, *, doc: str) -> Any:
    """Declares one group per name, at the place of the field's owner."""
    return field(metadata={"hdf5": Groups(of, doc)})


@dataclass(frozen=True)
class Artifact:
    """Base of the artifacts. `name` is the file's stem, `schema` its version."""

    name: ClassVar[str]
    schema: ClassVar[int]
    stage: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Space:
    """One feature space of `embeddings.h5`."""

    features: Rows = dataset(
        "n d", "float", doc="features as the backbone gave them, not normalised"
    )
    views: Rows | None = dataset(
        "n v d", "float", optional=True, doc="features of augmented views of each image"
    )
    backbone: str = attribute(doc="the backbone as configured; empty for features that were given")
    weights: str = attribute(doc="SHA-256 of the weights")
    preprocessing: str = attribute(doc="resolved preprocessing, as JSON")
    words: str = attribute(doc="open: any words; closed: a fixed vocabulary; none", default="none")
    normalised: bool = attribute(doc="true if every row has unit length as stored", default=False)
    shard: StringArray | None = dataset(
        "z", "str", optional=True, address=True, doc="shard files that hold the rows"
    )
    shard_id: StringArray | None = dataset(
        "z", "str", optional=True, address=True, doc="content ids of the shard files"
    )


@dataclass(frozen=True, kw_only=True)
class Embeddings(Artifact):
    """`embeddings.h5`: one row per image that could be read, in one or several spaces."""

    name: ClassVar[str] = "embeddings"
    schema: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"

    id: StringArray = dataset("n", "str", doc="the image's name within its source, unique")
    path: StringArray = dataset("n", "str", doc="path relative to the source; empty for arrays")
    size: IntArray = dataset("n", "int", unit="bytes", doc="size of the file")
    mtime: IntArray = dataset("n", "int", unit="ns", doc="modification time when last read")
    stamp: IntArray | None = dataset(
        "n", "int", optional=True, doc="digest of change time and inode when last read; 0 unknown"
    )
    digest: StringArray = dataset("n", "str", doc="blake2b of the encoded image")
    width: IntArray = dataset("n", "int", unit="pixels", doc="width, upright")
    height: IntArray = dataset("n", "int", unit="pixels", doc="height, upright")
    label: IntArray | None = dataset(
        "n", "int", optional=True, doc="ground truth, an index into class_name; -1 unknown"
    )
    class_name: StringArray | None = dataset("c", "str", optional=True, doc="ground-truth names")
    split: StringArray | None = dataset("n", "str", optional=True, doc="train, test, ...")
    taken: StringArray | None = dataset(
        "n", "str", optional=True, doc="local time the image was taken, ISO 8601; empty unknown"
    )
    camera: StringArray | None = dataset(
        "n", "str", optional=True, doc="maker and model of the camera; empty unknown"
    )
    latitude: FloatArray | None = dataset(
        "n", "float", optional=True, unit="degrees north", doc="place by EXIF; NaN unknown"
    )
    longitude: FloatArray | None = dataset(
        "n", "float", optional=True, unit="degrees east", doc="place by EXIF; NaN unknown"
    )
    skipped_path: StringArray = dataset(
        "x", "str", path="skipped/path", doc="paths of unreadable images"
    )
    skipped_reason: StringArray = dataset("x", "str", path="skipped/reason", doc="reason, in words")
    skipped_size: IntArray = dataset("x", "int", path="skipped/size", unit="bytes", doc="file size")
    skipped_mtime: IntArray = dataset(
        "x", "int", path="skipped/mtime", unit="ns", doc="modification time when last read"
    )
    skipped_digest: StringArray = dataset(
        "x", "str", path="skipped/digest", doc="blake2b of the file; empty if it could not be read"
    )
    skipped_stamp: IntArray | None = dataset(
        "x", "int", path="skipped/stamp", optional=True, doc="digest of change time and inode"
    )
    skipped_image: IntArray | None = dataset(
        "x", "int", path="skipped/image", optional=True, doc="1, or 0 for files that are no images"
    )
    fingerprint: str = attribute(doc="blake2b of the features that were given")
    default_space: str = attribute(doc="space that stages read when none is named")
    spaces: Mapping[str, Space] = groups(Space, doc="one group per feature space")


@dataclass(frozen=True, kw_only=True)
class Shard(Artifact):
    """`embeddings/<space>/000017.h5`: some images' features, and which files were looked at."""

    name: ClassVar[str] = "shard"
    schema: ClassVar[int] = 1
    stage: ClassVar[str] = "embed"

    features: Rows = dataset("m d", "float", doc="features as the backbone gave them")
    image: StringArray = dataset("m", "str", doc="blake2b of the encoded image")
    row: StringArray = dataset("m", "str", doc="blake2b of the stored feature row")
    width: IntArray = dataset("m", "int", unit="pixels", doc="width, upright")
    height: IntArray = dataset("m", "int", unit="pixels", doc="height, upright")
    bad: StringArray = dataset("y", "str", doc="blake2b of files that are no readable image")
    bad_reason: StringArray = dataset("y", "str", doc="reason, in words")
    seen_id: StringArray = dataset("r", "str", doc="ids of the files examined")
    seen_size: IntArray = dataset("r", "int", unit="bytes", doc="sizes of these files")
    seen_mtime: IntArray = dataset("r", "int", unit="ns", doc="modification times of these files")
    seen_stamp: IntArray | None = dataset(
        "r", "int", optional=True, doc="digests of their change times and inodes; 0 unknown"
    )
    seen_digest: StringArray = dataset("r", "str", doc="digests of these files")
    backbone: str = attribute(doc="the backbone as configured")
    weights: str = attribute(doc="SHA-256 of the weights")
    preprocessing: str = attribute(doc="resolved preprocessing, as JSON")
    words: str = attribute(doc="open: any words; closed: a fixed vocabulary; none")


@dataclass(frozen=True, kw_only=True)
class ViewShard(Shard):
    """`embeddings/<space>-<v>-views/000017.h5`: the same of augmented views of some images."""

    name: ClassVar[str] = "view_shard"
    schema: ClassVar[int] = 1

    features: Rows = dataset(
        "m v d", "float", doc="features of each view, as the backbone gave them"
    )


@dataclass(frozen=True, kw_only=True)
class KEstimate(Artifact):
    """`k_estimate.h5`: the number of clusters, how sure it is, and why."""

    name: ClassVar[str] = "k_estimate"
    schema: ClassVar[int] = 3
    stage: ClassVar[str] = "estimate-k"

    k: int = dataset("", "int", unit="clusters", doc="the chosen number of clusters")
    interval: IntArray = dataset("2", "int", unit="clusters", doc="lowest and highest plausible k")
    candidate: IntArray = dataset("m", "int", unit="clusters", doc="candidates, ascending")
    length: FloatArray = dataset("m", "float", unit="nats", doc="coding length of each candidate")
    gap: FloatArray | None = dataset(
        "e", "float", doc="fall of the graphs' spectrum after 1, 2, ... eigenvalues", optional=True
    )
    number: IntArray | None = dataset(
        "p",
        "int",
        unit="clusters",
        doc="numbers that were weighed, ascending from 1",
        optional=True,
    )
    probability: FloatArray | None = dataset(
        "p", "float", doc="of each number that was weighed; sums to 1", optional=True
    )
    level: IntArray | None = dataset(
        "l", "int", unit="clusters", doc="numbers that stand out, k among them", optional=True
    )
    level_evidence: FloatArray | None = dataset(
        "l", "float", doc="distance of each from chance, in standard deviations", optional=True
    )
    cell_size: IntArray | None = dataset(
        "g", "int", unit="images", doc="images of the sample in each cell", optional=True
    )
    merge: IntArray | None = dataset(
        "h 2",
        "int",
        doc="pair merged at step t into cluster g + t; g - k merges leave k",
        optional=True,
    )
    reason: str = attribute(doc="reason for this k, in words")


@dataclass(frozen=True, kw_only=True)
class Refined(Artifact):
    """`refined.h5`: features after rate reduction, the map that made them, its training."""

    name: ClassVar[str] = "refined"
    schema: ClassVar[int] = 2
    stage: ClassVar[str] = "refine"

    features: Rows = dataset("n e", "float", doc="refined features, unit rows")
    parameters: Mapping[str, NDArray[Any]] = members(doc="weights of the map")
    rate: FloatArray = dataset("t", "float", unit="nats", doc="R(Z) at each step")
    membership_rate: FloatArray = dataset("t", "float", unit="nats", doc="R_c(Z, Pi) at each step")
    loss: FloatArray = dataset("t", "float", unit="nats", doc="the objective at each step")
    fitted_on: str = attribute(doc="rows the map was fitted on, in words")


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Artifact):
    """`checkpoint.h5`: refinement that has not come to its end, for the same command to go on."""

    name: ClassVar[str] = "checkpoint"
    schema: ClassVar[int] = 1
    stage: ClassVar[str] = "refine"

    state: Mapping[str, NDArray[Any]] = members(doc="weights, running statistics and momenta")
    rate: FloatArray = dataset("t", "float", unit="nats", doc="R(Z) at each step so far")
    membership_rate: FloatArray = dataset(
        "t", "float", unit="nats", doc="R_c(Z, Pi) at each step so far"
    )
    loss: FloatArray = dataset("t", "float", unit="nats", doc="the objective at each step so far")
    done: int = attribute(doc="steps taken")
    steps: int = attribute(doc="steps in total")


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One method's clusters."""

    label: IntArray = dataset("n", "int", doc="cluster, 0..k-1; -1 unassigned")
    probability: FloatArray = dataset("n", "float", doc="probability of the label, 0..1")
    top_label: IntArray = dataset("n m", "int", doc="the m likeliest clusters, likeliest first")
    top_probability: FloatArray = dataset("n m", "float", doc="probabilities of these clusters")
    centroid: FloatArray = dataset("k d", "float", doc="centres in the prepared space")
    center: FloatArray = dataset(
        "d", "float", doc="mean subtracted from each row; zeros if uncentred"
    )
    width: IntArray = dataset(
        "r", "int", doc="widths of the feature spaces that stand side by side"
    )
    cluster: IntArray = dataset(
        "k",
        "int",
        doc="index of the cluster in the fit; clusters without images are left out",
    )
    name: StringArray | None = dataset(
        "k", "str", optional=True, doc="zero-shot: class names, one per cluster"
    )
    exemplar: IntArray = dataset("k q", "int", doc="rows nearest the centre, best first; -1 none")
    outlier_score: FloatArray = dataset(
        "n",
        "float",
        doc="distance to the own centre over the cluster's median distance: how unlike its cluster "
        "an image is. Which images are like no others, curate says",
    )
    label_per_seed: IntArray = dataset("s n", "int", doc="labels of each seed")
    objective_per_seed: FloatArray = dataset("s", "float", doc="objective of the fit of each seed")
    parameters: Mapping[str, NDArray[Any]] = members(doc="further parameters of the head")
    head: str = attribute(doc="kind of head that was fitted, which assigns new images too")
    finishes: str = attribute(doc="head whose labels were learnt, with assign.finish; else empty")
    objective: str = attribute(doc="objective that was minimised")
    chosen_seed: int = attribute(
        doc="index of the selected fit; of a consensus, that of the vote of all members"
    )
    space: str = attribute(doc="features clustered, e.g. embeddings/clip")
    normalised: bool = attribute(doc="true if rows are scaled to unit length", default=True)
    temperature: float = attribute(doc="temperature of the soft assignment", default=0.0)
    effective_k: int = attribute(doc="clusters that hold at least one image", default=0)
    asked_k: int = attribute(doc="clusters that were asked for; 0 where it is not known", default=0)
    stability: float = attribute(
        doc="mean adjusted Rand index between the labels of two seeds; NaN for one",
        default=math.nan,
    )
    fitted_on: str = attribute(doc="rows the centres were fitted on, in words")

    @property
    def k(self) -> int:
        """The number of clusters, with those that hold no image."""
        return len(self.exemplar)


@dataclass(frozen=True, kw_only=True)
class Assignments(Artifact):
    """`assignments.h5`: the clusters of every method that ran, and the one the run stands by."""

    name: ClassVar[str] = "assignments"
    schema: ClassVar[int] = 6
    stage: ClassVar[str] = "assign"

    chosen: str = dataset("", "str", doc="method the run stands by")
    selection_method: StringArray | None = dataset(
        "a",
        "str",
        optional=True,
        path="selection/method",
        doc="candidate methods",
    )
    selection_measure: StringArray | None = dataset(
        "b",
        "str",
        optional=True,
        path="selection/measure",
        doc="measures that need no labels",
    )
    selection_value: FloatArray | None = dataset(
        "a b",
        "float",
        optional=True,
        path="selection/value",
        doc="measures of each method's labels",
    )
    selection_score: FloatArray | None = dataset(
        "a",
        "float",
        optional=True,
        path="selection/score",
        doc="score of a linear probe on each method's labels",
    )
    selection_score_per_seed: FloatArray | None = dataset(
        "a s",
        "float",
        optional=True,
        path="selection/score_per_seed",
        doc="score of each fit; the best decides where the votes of a consensus are equal",
    )
    methods: Mapping[str, Assignment] = groups(Assignment, doc="one group per method")


@dataclass(frozen=True, kw_only=True)
class Corrections(Artifact):
    """`corrections.h5`: the chosen clusters with a person's corrections, and what became of these.

    Clusters keep their numbers: one that was merged away holds no image, and those that came about
    by splitting have the numbers after the last.
    """

    name: ClassVar[str] = "corrections"
    schema: ClassVar[int] = 1
    stage: ClassVar[str] = "correct"

    label: IntArray = dataset("n", "int", doc="cluster, 0..k-1; -1 unassigned or rejected")
    probability: FloatArray = dataset(
        "n", "float", doc="probability of the label, 0..1; 1 where a person decided"
    )
    top_label: IntArray = dataset("n m", "int", doc="the label, then the likeliest others; -1 none")
    top_probability: FloatArray = dataset("n m", "float", doc="probabilities of these clusters")
    exemplar: IntArray = dataset(
        "k q", "int", doc="rows: starred ones, then nearest the centre; -1 none"
    )
    title: StringArray = dataset("k", "str", doc="name that a person gave; empty for none")
    piece: IntArray = dataset(
        "p 2", "int", doc="cluster as assigned, and one that its images went to, whole or in part"
    )
    placed: IntArray = dataset("n", "int", doc="1 where a person decided on the cluster")
    starred: IntArray = dataset("n", "int", doc="1 for images that a person put first")
    kept: IntArray = dataset(
        "n", "int", doc="1 to keep of its duplicates, -1 to leave out, 0 nothing said"
    )
    line: IntArray = dataset("j", "int", doc="lines of the log that are in force, from 1")
    act: StringArray = dataset("j", "str", doc="kind of the act of each line")
    outcome: StringArray = dataset(
        "j", "str", doc="reason why the act, or part of it, does not apply; empty where it does"
    )
    method: str = attribute(doc="method whose clusters were corrected")


@dataclass(frozen=True, kw_only=True)
class Levels(Artifact):
    """`levels.h5`: groups of the clusters the run stands by, and parts of them, nested in each
    other."""

    name: ClassVar[str] = "levels"
    schema: ClassVar[int] = 1
    stage: ClassVar[str] = "levels"

    coarse: IntArray = dataset(
        "k", "int", doc="group of each cluster, the largest first; -1 of a cluster without images"
    )
    fine: IntArray = dataset(
        "n", "int", doc="part of its cluster that an image is in, numbered over all; -1 in none"
    )
    number: IntArray = dataset("3", "int", doc="number of groups, of clusters and of parts")


@dataclass(frozen=True, kw_only=True)
class Naming:
    """One captioner's phrases: in each row the caption, then the other phrases from the best down.

    An unsure cluster has the caption "unsure" with score 0, and its best guesses after it.
    """

    text: StringArray = dataset(
        "k c", "str", doc="the caption, then other phrases, best first; empty where none"
    )
    phrase: IntArray = dataset(
        "k c", "int", doc="the phrases as indices into word; -1 for none and for unsure"
    )
    score: FloatArray = dataset(
        "k c", "float", doc="share of the votes, or probability of being distinctive, 0..1"
    )
    margin: FloatArray = dataset(
        "k", "float", doc="score of the caption less that of the best other phrase"
    )
    fit: FloatArray = dataset(
        "k c",
        "float",
        unit="standard deviations",
        doc="distance of a phrase's likelihood from the mean of all words",
    )
    rank: IntArray = dataset(
        "k", "int", doc="rank of the cluster when all are searched for its caption; 0 none"
    )
    space: str = attribute(doc="feature space whose images are described")
    assignment: str = attribute(doc="assignment that is described")
    clustered: str = attribute(doc="features that the assignment clustered")
    vocabulary: str = attribute(doc="vocabulary of the phrases")
    vocabulary_digest: str = attribute(doc="blake2b of the vocabulary")


@dataclass(frozen=True, kw_only=True)
class Captions(Artifact):
    """`captions.h5`: a name for each cluster."""

    name: ClassVar[str] = "captions"
    schema: ClassVar[int] = 3
    stage: ClassVar[str] = "caption"

    chosen: str = dataset("", "str", doc="captioner the run stands by")
    word: StringArray = dataset("v", "str", doc="the vocabulary")
    synonyms: StringArray = dataset("v", "str", doc="other names of each word, as a JSON list")
    definition: StringArray = dataset("v", "str", doc="definition of each word; empty if unknown")
    feature: FloatArray | None = dataset(
        "v d", "float", optional=True, doc="the words in the space of the images, unit rows"
    )
    prompt: StringArray | None = dataset(
        "p", "str", optional=True, doc="prompts of the text tower, with {} for the word"
    )
    backbone: str = attribute(
        doc="the backbone whose text tower encoded the words; empty if none did", default=""
    )
    weights: str = attribute(doc="SHA-256 of its weights", default="")
    leaks: bool = attribute(
        doc="true if the vocabulary is the source's own class names", default=False
    )
    methods: Mapping[str, Naming] = groups(Naming, doc="one group per captioner")


@dataclass(frozen=True, kw_only=True)
class WordFeatures(Artifact):
    """`words/<key>.h5`: encoded words, so that captioning again encodes none of them."""

    name: ClassVar[str] = "words"
    schema: ClassVar[int] = 1
    stage: ClassVar[str] = "caption"

    word: StringArray = dataset("v", "str", doc="the words")
    prompt: StringArray = dataset("p", "str", doc="prompts of the text tower, with {} for the word")
    features: FloatArray = dataset(
        "v d", "float", doc="mean over prompts of the words' unit features, unit rows"
    )
    backbone: str = attribute(doc="the backbone whose text tower encoded them")
    weights: str = attribute(doc="SHA-256 of its weights")


@dataclass(frozen=True, kw_only=True)
class Metrics(Artifact):
    """`metrics.h5`: how good it is, with chance levels; NaN where a metric needs labels."""

    name: ClassVar[str] = "metrics"
    schema: ClassVar[int] = 1
    stage: ClassVar[str] = "evaluate"

    method: StringArray = dataset("a", "str", doc="assignment methods")
    metric: StringArray = dataset("b", "str", doc="metrics")
    split: StringArray = dataset("u", "str", doc="splits; the first is 'all'")
    unit: StringArray = dataset("b", "str", doc="unit of each metric")
    value: FloatArray = dataset("a b", "float", doc="mean over seeds, all rows")
    spread: FloatArray = dataset("a b", "float", doc="standard deviation over seeds, all rows")
    value_per_seed: FloatArray = dataset("s a b", "float", doc="each seed, all rows")
    value_per_split: FloatArray = dataset("u a b", "float", doc="mean over seeds, each split")
    chosen_value: FloatArray = dataset("a b", "float", doc="value of the selected labels")
    chance: FloatArray = dataset(
        "a b", "float", doc="value of random labels with the same cluster sizes"
    )
    count_per_split: IntArray = dataset("u", "int", unit="images", doc="labelled images")
    confusion: IntArray | None = dataset(
        "c k", "int", optional=True, doc="images per true class and chosen cluster"
    )
    retrieval_space: StringArray | None = dataset(
        "r", "str", optional=True, path="retrieval/space", doc="features searched in"
    )
    retrieval_metric: StringArray | None = dataset(
        "g", "str", optional=True, path="retrieval/metric", doc="measures of the search"
    )
    retrieval_value: FloatArray | None = dataset(
        "r g", "float", optional=True, path="retrieval/value", doc="mean over the queries, 0..1"
    )
    retrieval_chance: FloatArray | None = dataset(
        "g", "float", optional=True, path="retrieval/chance", doc="expectation for a random order"
    )
    retrieval_protocol: str | None = dataset(
        "",
        "str",
        optional=True,
        path="retrieval/protocol",
        doc="queries, collection and measures, in words",
    )
    caption_method: StringArray | None = dataset(
        "h", "str", optional=True, path="captions/method", doc="captioners"
    )
    caption_metric: StringArray | None = dataset(
        "o", "str", optional=True, path="captions/metric", doc="measures of the captions"
    )
    caption_value: FloatArray | None = dataset(
        "h o", "float", optional=True, path="captions/value", doc="mean over the clusters counted"
    )
    caption_chance: FloatArray | None = dataset(
        "h o",
        "float",
        optional=True,
        path="captions/chance",
        doc="value of captions dealt at random",
    )
    caption_protocol: str | None = dataset(
        "",
        "str",
        optional=True,
        path="captions/protocol",
        doc="clusters that were counted, in words",
    )
    protocol: str = attribute(doc="rows of the fit and of the report, in words")


@dataclass(frozen=True, kw_only=True)
class Curation(Artifact):
    """`curation.h5`: images that are nearly the same, and images that are like no other."""

    name: ClassVar[str] = "curation"
    schema: ClassVar[int] = 1
    stage: ClassVar[str] = "curate"

    group: IntArray = dataset(
        "n", "int", doc="group of exact and near-duplicates, the largest first; -1 no duplicate"
    )
    representative: IntArray = dataset(
        "g", "int", doc="row to keep of each group: largest picture, then file, then first"
    )
    copy_of: IntArray = dataset(
        "n", "int", doc="the first row of the very same content; itself if there is none before"
    )
    similarity: FloatArray = dataset(
        "n", "float", doc="highest cosine of centred features with another of the nearest images"
    )
    isolation: FloatArray = dataset(
        "n",
        "float",
        doc="cosine distance: a third that to the nearest images outside the group, the rest that "
        "to all images, on average",
    )
    outlier: IntArray = dataset("n", "int", doc="1 for the most isolated images")
    recall: float | None = dataset(
        "",
        "float",
        optional=True,
        doc="share of the nearest images that was found, on 1,000 random ones; 1 = looked at all",
    )


ARTIFACTS: tuple[type[Artifact], ...] = (
    Embeddings,
    KEstimate,
    Refined,
    Assignments,
    Corrections,
    Levels,
    Captions,
    Metrics,
    Curation,
)
