"""Settings: precedence, origin, errors that teach, and the file a run keeps."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.pipeline.engine.config import Config, affecting, dump, harmless, load, override

ROOT = Path(__file__).parents[3]


def test_the_repository_file_holds_the_defaults() -> None:
    assert (ROOT / "pipeline.toml").read_text(encoding="utf-8") == dump(Config())


def test_dump_and_load_are_inverse(tmp_path: Path) -> None:
    changed = override(
        Config(),
        [
            'embed.backbones=["a=timm:resnet18", "b=packaged:efficientnet-lite0"]',
            "assign.k=7",
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
    ],
)
def test_a_wrong_setting_names_what_is_right(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        override(Config(), [assignment])


def test_bare_words_are_text_and_dashes_are_underscores() -> None:
    config = override(Config(), ["embed.dtype=float32", "estimate-k.space=clip"])
    assert config.get("embed.dtype") == "float32"
    assert config.of("estimate-k").space == "clip"


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
        names = {f.name for f in fields(owner)}
        assert set(affecting(owner)) | set(harmless(owner)) == names
        assert not set(affecting(owner)) & set(harmless(owner))


def test_every_setting_is_explained() -> None:
    for table, owner in Config().tables().items():
        for spec in fields(owner):
            assert len(spec.metadata["help"]) > 10, f"{table}.{spec.name}"
