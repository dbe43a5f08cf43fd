"""Corrections of a run: they hold for the next fit, show everywhere, and change no artifact but
their own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from clusterpipe.cache import artifact
from clusterpipe.cache.corrections import Act
from clusterpipe.cache.errors import DamagedArtifact, MissingArtifact, UsageError
from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.cache.schema import Assignments, Corrections, Metrics
from clusterpipe.pipeline import Config, run_stage
from clusterpipe.pipeline.engine import inputs, plan
from clusterpipe.pipeline.engine.config import override
from clusterpipe.pipeline.results import export
from clusterpipe.pipeline.results.correcting import (
    Speaker,
    logged,
    read_acts,
    record,
    undoing,
)
from clusterpipe.pipeline.results.outcome import outcome
from clusterpipe.pipeline.results.predict import predict
from clusterpipe.pipeline.results.reading import Results, read_results
from clusterpipe.stages import STAGES

pytestmark = pytest.mark.slow

KINDS, PER_KIND, D = 4, 15, 12
QUICK = ("assign.k=4", "assign.features=embeddings", "assign.seeds=2", "evaluate.permutations=1")


def rows(seed: int) -> np.ndarray:
    """Rows of four kinds, of which the last two are near each other."""
    rng = np.random.default_rng(seed)
    centres = np.eye(KINDS, D)
    centres[3] = centres[2] + 0.5 * centres[3]
    kind = np.arange(KINDS * PER_KIND) % KINDS
    return (centres[kind] + 0.05 * rng.normal(size=(len(kind), D))).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A run with clusters and metrics, without corrections."""
    home = tmp_path_factory.mktemp("corrected")
    kind = np.arange(KINDS * PER_KIND) % KINDS
    names = np.array([f"{'abcd'[k]}{row:02d}" for row, k in enumerate(kind)])
    np.savez(home / "features.npz", features=rows(0), ids=names, labels=kind)
    config = override(Config(), [f"source.path={home / 'features.npz'}", *QUICK])
    for stage in ("embed", "assign", "evaluate"):
        run_stage(stage, config, home / "run")
    return config, home / "run"


@pytest.fixture
def config(made: tuple[Config, Path]) -> Config:
    return made[0]


@pytest.fixture
def run(made: tuple[Config, Path], tmp_path: Path) -> RunDirectory:
    shutil.copytree(made[1], tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def speaker(run: RunDirectory, config: Config) -> Speaker:
    return Speaker(read_results(run, config.source), "ann")


def cluster_of(results: Results, kind: str) -> int:
    """The cluster that most images of a kind are in."""
    own = [name.startswith(kind) for name in results.index.id]
    return int(np.bincount(results.clusters.label[own]).argmax())


def kinds_in(results: Results, cluster: int) -> set[str]:
    return {str(results.index.id[row])[0] for row in results.members(cluster)}


def name_helicopter(run: RunDirectory, config: Config) -> None:
    """Merges the clusters of kinds a and b, and calls that of c helicopter."""
    said, results = speaker(run, config), read_results(run, config.source)
    a, b, c = (cluster_of(results, kind) for kind in "abc")
    record(config, run, [said.act("merge", clusters=[a, b])])
    record(config, run, [said.act("rename", clusters=[c], name="helicopter")])


def identity_of(stage: str, config: Config, run: RunDirectory) -> dict[str, str]:
    return dict(inputs.resolve(STAGES[stage], config, run).identity().inputs)


def test_without_a_log_there_is_nothing_to_do_and_no_key_knows_of_it(
    run: RunDirectory, config: Config
) -> None:
    assert plan.state_of(STAGES["correct"], config, run).state == "skipped"
    for stage in ("caption", "evaluate"):
        assert not [name for name in identity_of(stage, config, run) if "correct" in name]
    assert plan.state_of(STAGES["evaluate"], config, run).state == "fresh"


def test_corrections_stand_in_the_place_of_clusters_and_captions(
    run: RunDirectory, config: Config
) -> None:
    before = run.artifact(Assignments).read_bytes()
    name_helicopter(run, config)
    results = read_results(run, config.source)
    assert kinds_in(results, cluster_of(results, "a")) == {"a", "b"}
    c = cluster_of(results, "c")
    assert (results.captions[c], results.origins[c]) == ("helicopter", "you")
    table = export.columns(results)
    assert set(zip(table["caption"], table["caption_origin"], strict=True)) == {
        ("", ""),
        ("helicopter", "you"),
    }
    assert run.artifact(Assignments).read_bytes() == before
    found = outcome(run, config)
    assert found.corrections is not None
    assert (found.corrections.corrections, found.corrections.open) == (2, 0)
    assert len(found.clusters) == 3


def test_metrics_show_what_the_machine_said_beside_what_a_person_made_of_it(
    run: RunDirectory, config: Config
) -> None:
    name_helicopter(run, config)
    state = plan.state_of(STAGES["evaluate"], config, run)
    assert state.reasons == ("corrections.h5 is read now",)
    run_stage("evaluate", config, run.folder)
    metrics = artifact.read(run.artifact(Metrics), Metrics)
    assert metrics.method.tolist() == ["corrected", "annealed"]
    accuracy = metrics.chosen_value[:, metrics.metric.tolist().index("ari")]
    assert accuracy[0] < accuracy[1]  # two kinds were made one
    assert "corrected: the clusters of annealed after 2 corrections" in metrics.protocol
    assert plan.state_of(STAGES["evaluate"], config, run).state == "fresh"


@pytest.mark.parametrize(
    "change", [["seed=7"], ["assign.k=5"], ['assign.methods=["spherical-kmeans"]']], ids=str
)
def test_corrections_survive_another_fit(
    change: list[str], run: RunDirectory, config: Config
) -> None:
    name_helicopter(run, config)
    later = override(config, change)
    for stage in ("assign", "correct"):
        run_stage(stage, later, run.folder)
    results = read_results(run, later.source)
    assert kinds_in(results, cluster_of(results, "a")) >= {"a", "b"}
    assert "c" in kinds_in(results, results.captions.index("helicopter"))
    assert {line.state for line in logged(run)} == {"done"}


def test_corrections_survive_images_that_come_and_go(
    run: RunDirectory, config: Config, tmp_path: Path
) -> None:
    name_helicopter(run, config)
    index = read_results(run, config.source).index
    left = np.setdiff1d(np.arange(len(index.id)), [0, 1, 2, 3])
    more = rows(9)[:20]
    names = [*index.id[left], *(f"{'abcd'[row % 4]}new{row}" for row in range(20))]
    features = np.concatenate([rows(0)[left], more])
    np.savez(tmp_path / "changed.npz", features=features, ids=np.array(names))
    later = override(config, [f"source.path={tmp_path / 'changed.npz'}"])
    for stage in ("embed", "assign", "correct"):
        run_stage(stage, later, run.folder)
    results = read_results(run, later.source)
    assert kinds_in(results, cluster_of(results, "a")) == {"a", "b"}
    assert kinds_in(results, results.captions.index("helicopter")) == {"c"}


def test_what_applies_no_more_is_told_with_its_reason(run: RunDirectory, config: Config) -> None:
    name_helicopter(run, config)
    later = override(config, ["assign.k=2"])
    for stage in ("assign", "correct"):
        run_stage(stage, later, run.folder)
    reasons = [line.reason for line in logged(run) if line.state == "partly"]
    assert reasons
    assert all(reasons)
    found = outcome(run, later)
    assert found.corrections is not None
    assert found.corrections.open == len(reasons)


def test_an_undone_act_is_as_if_it_had_never_been(run: RunDirectory, config: Config) -> None:
    before = read_results(run, config.source).clusters.label
    name_helicopter(run, config)
    record(config, run, [undoing(run, 0, "")])
    record(config, run, [undoing(run, 1, "")])
    results = read_results(run, config.source)
    assert results.clusters.label.tolist() == before.tolist()
    assert not any(results.captions)
    assert [line.state for line in logged(run)] == ["undone", "undone", "undo", "undo"]
    with pytest.raises(UsageError, match="no corrections to undo"):
        undoing(run, 0, "")


def test_new_images_go_into_corrected_clusters(
    run: RunDirectory, config: Config, tmp_path: Path
) -> None:
    said, results = speaker(run, config), read_results(run, config.source)
    a, b, c = (cluster_of(results, kind) for kind in "abc")
    record(config, run, [said.act("merge", clusters=[a, b])])
    record(config, run, [speaker(run, config).act("split", clusters=[c], into=2)])
    np.savez(tmp_path / "same.npz", features=rows(0))
    results = read_results(run, config.source)
    found = predict(results, tmp_path / "same.npz")
    assert found.probability.shape == (60, 5)
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, rtol=1e-5)
    agree = found.label == results.clusters.label
    assert agree.mean() > 0.9  # a piece's border is where its means are equally near
    assert set(found.label[agree]) == set(results.clusters.label)


def test_a_bad_file_is_refused_with_the_line_and_nothing_changes(
    run: RunDirectory, config: Config, tmp_path: Path
) -> None:
    name_helicopter(run, config)
    before = run.corrections.read_bytes()
    good = before.decode().splitlines()[0]
    stranger = json.dumps({"act": "star", "images": {"nobody.jpg": "ff"}})
    for bad, reason in {"{": "it is no JSON", stranger: "none of its images"}.items():
        (tmp_path / "acts.jsonl").write_text(f"{good}\n{bad}\n")
        with pytest.raises(UsageError, match=f"line 2: .*{reason}.*; nothing was changed"):
            read_acts(tmp_path / "acts.jsonl", run, "")
    assert run.corrections.read_bytes() == before


def test_a_file_of_acts_is_taken_in_and_its_undo_means_its_own_lines(
    run: RunDirectory, config: Config, tmp_path: Path
) -> None:
    name_helicopter(run, config)
    star = {"act": "star", "images": {"a00": ""}}
    lines = [star, {"act": "note", "text": "later"}, {"act": "undo", "undoes": 1}]
    (tmp_path / "acts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    added = record(config, run, read_acts(tmp_path / "acts.jsonl", run, "ben"))
    assert [line.state for line in added] == ["undone", "done", "undo"]
    assert added[2].words == "line 3 is undone"
    assert {line.author for line in added} == {"ben"}
    assert all(line.time for line in added)


def test_readers_refuse_clusters_from_before_the_last_correction(
    run: RunDirectory, config: Config
) -> None:
    name_helicopter(run, config)
    with run.corrections.open("a") as log:
        log.write('{"act": "note", "text": "by hand"}\n')
    with pytest.raises(MissingArtifact, match=r"corrections\.h5 was made from what has changed"):
        read_results(run, config.source)
    assert plan.state_of(STAGES["correct"], config, run).reasons == ("corrections.jsonl changed",)


def test_a_damaged_log_ends_what_needs_it_and_names_the_line(
    run: RunDirectory, config: Config
) -> None:
    name_helicopter(run, config)
    with run.corrections.open("a") as log:
        log.write("oops\n")
    with pytest.raises(DamagedArtifact, match=r"corrections\.jsonl, line 3: it is no JSON"):
        run_stage("correct", config, run.folder)


def test_a_log_that_is_taken_away_leaves_what_the_machine_said(
    run: RunDirectory, config: Config
) -> None:
    before = read_results(run, config.source).clusters.label
    name_helicopter(run, config)
    run.corrections.unlink()
    assert read_results(run, config.source).clusters.label.tolist() == before.tolist()


def test_rejected_images_are_in_no_cluster_and_starred_ones_come_first(
    run: RunDirectory, config: Config
) -> None:
    said = speaker(run, config)
    acts = said.rejections(["a00", "b01"])
    assert [len(act.images) for act in acts] == [1, 1]
    record(config, run, [*acts, said.act("star", images=["c58"])])
    results = read_results(run, config.source)
    row = {str(name): number for number, name in enumerate(results.index.id)}
    assert results.clusters.label[[row["a00"], row["b01"]]].tolist() == [-1, -1]
    assert results.exemplar_rank[row["c58"]] == 1
    assert outcome(run, config).unassigned == 2


def test_what_cannot_be_meant_is_refused(run: RunDirectory, config: Config) -> None:
    said = speaker(run, config)
    with pytest.raises(UsageError, match="there is no cluster 9: they are 0 to 3"):
        said.act("rename", clusters=[9], name="x")
    with pytest.raises(UsageError, match="merge names at least 2 clusters, not 1"):
        said.act("merge", clusters=[1, 1])
    with pytest.raises(UsageError, match="rename needs"):
        said.act("rename", clusters=[1], name=" ")
    with pytest.raises(UsageError, match="no image of that id"):
        said.act("star", images=["nobody"])


def test_a_cluster_is_named_by_exemplars_and_by_images_that_stay_the_same(
    run: RunDirectory, config: Config
) -> None:
    said = speaker(run, config)
    named = said.cluster(0)
    assert (named.size, named.number) == (PER_KIND, 0)
    assert set(named.images) == {str(said.results.index.id[r]) for r in said.results.members(0)}


def test_an_image_that_was_renamed_is_found_by_its_content(
    run: RunDirectory, config: Config
) -> None:
    index = read_results(run, config.source).index
    act = Act(kind="reject", images={"gone.jpg": str(index.digest[5])}, clusters=())
    named = speaker(run, config).cluster(int(read_results(run, config.source).clusters.label[5]))
    record(config, run, [Act(kind=act.kind, images=act.images, clusters=(named,))])
    found = artifact.read(run.artifact(Corrections), Corrections)
    assert np.flatnonzero(found.label < 0).tolist() == [5]
    assert found.outcome.tolist() == [""]


def test_metrics_of_before_are_out_of_date_after_the_first_correction(
    run: RunDirectory, config: Config
) -> None:
    assert inputs.describes(Metrics, run)
    name_helicopter(run, config)
    assert not inputs.describes(Metrics, run)
    run_stage("evaluate", config, run.folder)
    assert inputs.describes(Metrics, run)
    run.corrections.unlink()
    assert not inputs.describes(Metrics, run)
