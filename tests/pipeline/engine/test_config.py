"""Settings: precedence, origin, errors that teach, and the file a run keeps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.engine.config import Config, affecting, dump, harmless, load, override
from clusterpipe.pipeline.engine.renamed import RENAMED, Fixed
from clusterpipe.stages.assign import AssignConfig
from clusterpipe.stages.declaration import options_of
from clusterpipe.stages.heads.consensus import Consensus
from clusterpipe.stages.heads.scp import Scp

ROOT = Path(__file__).parents[3]


def test_the_repository_file_holds_the_defaults() -> None:
    assert (ROOT / "pipeline.toml").read_text(encoding="utf-8") == dump(Config())


def test_dump_and_load_are_inverse(tmp_path: Path) -> None:
    changed = override(
        Config(),
        [
            'embed.backbones=["a=timm:resnet18", "b=packaged:efficientnet-lite0"]',
            "assign.k=7",
            "assign.scp.alpha=3",
            "compute.device=cpu",
            "seed=3",
            "source.path='photos of [2024]'",
            "embed.max_bad=0.5",
        ],
    )
    path = tmp_path / "pipeline.toml"
    path.write_text(dump(changed), encoding="utf-8")
    assert replace(load(Config(), path), origin={}) == replace(changed, origin={})


def test_later_settings_win_and_say_where_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[assign]\nk = 5\nseeds = 2\n")
    config = override(load(Config(), path), ["assign.k=6"])
    assert (config.get("assign.k"), config.get("assign.seeds")) == (6, 2)
    assert config.origin == {"assign.k": "--set", "assign.seeds": str(path)}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("asign.k=3", "did you mean assign.k"),
        ("refine.epoch=3", "there is no setting"),
        ("assign.k", "takes table.field=value"),
        ("assign.k=many", "assign.k takes a whole number"),
        ("assign.k=true", "assign.k takes a whole number"),
        ("assign.center=1", "assign.center takes true or false"),
        ("embed.dtype=float23", "did you mean float32"),
        ("embed.max_bad='x'", "embed.max_bad takes a number"),
        ("assign.scp.alfa=3", "did you mean assign.scp.alpha"),
        ("assign.scp.alpha=-1", "assign.scp.alpha must be at least 0"),
        ("assign.scp_start=random", "assign.scp_start is no setting any more"),
    ],
)
def test_a_wrong_setting_names_what_is_right(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        override(Config(), [assignment])


def test_bare_words_are_text_and_dashes_are_underscores() -> None:
    config = override(Config(), ["embed.dtype=float32", "estimate-k.space=clip"])
    assert config.get("embed.dtype") == "float32"
    assert config.of("estimate-k").space == "clip"


def test_former_names_are_taken_for_the_present_ones(tmp_path: Path) -> None:
    config = override(Config(), ["assign.scp_alpha=3", "refine.device=cpu", "assign.scp_prior=1"])
    assert (config.get("assign.scp.alpha"), config.compute.device) == (3, "cpu")
    assert config.get("assign.scp_alpha") == 3
    kept = tmp_path / "kept.toml"
    kept.write_text("[embed]\ndevice = 'cpu'\n[refine]\ndevice = 'auto'\n")
    assert load(Config(), kept).compute.device == "cpu"  # what was left as it was says nothing


@pytest.mark.parametrize(("former", "new"), RENAMED.items())
def test_every_former_name_leads_to_a_setting_that_there_is(former: str, new: str | Fixed) -> None:
    keys = Config().keys()
    assert former not in keys
    if isinstance(new, Fixed):
        assert new.table in Config().tables()
        assert override(Config(), [f"{former}={new.values[0]}"]) == Config()
    else:
        assert new in keys


def test_only_the_tables_of_heads_that_run_are_in_the_key() -> None:
    def tables(**settings: Any) -> set[str]:
        names = affecting(AssignConfig(**settings))
        return {name.partition(".")[0] for name in names if "." in name}

    assert tables() == {"annealed"}
    assert tables(methods=("kmeans",)) == set()
    assert tables(methods=("turtle:both", "kmeans")) == {"turtle"}
    assert tables(methods=("tac-trained",), finish="self-label") == {"tac", "self_label"}
    assert tables(methods=("auto",)) == {"consensus", "annealed", "spectral"}
    chosen = Consensus(candidates=("scp", "kmeans"))
    assert tables(methods=(chosen,)) == {"consensus", "scp"}
    assert affecting(AssignConfig(methods=(Scp(alpha=3),)))["scp.alpha"] == 3


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[embed]\nbatch = 3\n")
    with pytest.raises(UsageError, match=r"bad\.toml: there is no setting 'embed\.batch'"):
        load(Config(), path)
    path.write_text("[embed\n")
    with pytest.raises(UsageError, match=r"bad\.toml cannot be read as TOML"):
        load(Config(), path)
    with pytest.raises(UsageError, match="cannot be read"):
        load(Config(), tmp_path / "absent.toml")


def test_a_run_of_an_older_version_keeps_the_settings_that_there_still_are(tmp_path: Path) -> None:
    kept = tmp_path / "pipeline.toml"
    kept.write_text("[refine]\nretain = 0.9\nneighbours = 5\n")
    with pytest.raises(UsageError, match=r"refine\.retain"):
        load(Config(), kept)
    assert load(Config(), kept, outlived=True).get("refine.neighbours") == 5


def test_every_field_either_affects_the_result_or_does_not() -> None:
    for owner in Config().tables().values():
        names = {spec.name for spec in options_of(owner)}
        names |= set(affecting(owner)) if hasattr(owner, "heads") else set()  # those of its heads
        assert set(affecting(owner)) | set(harmless(owner)) == names
        assert not set(affecting(owner)) & set(harmless(owner))


def test_every_setting_is_explained() -> None:
    for table, owner in Config().tables().items():
        for spec in options_of(owner):
            assert len(spec.metadata["help"]) > 10, f"{table}.{spec.name}"
