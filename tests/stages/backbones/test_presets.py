"""Presets are pairs of the catalogue's backbones, free to use."""

import pytest

from clusterpipe.pipeline.engine.config import Config, override
from clusterpipe.stages.backbones import parse
from clusterpipe.stages.backbones.catalogue import MODELS
from clusterpipe.stages.backbones.presets import PRESETS, expanded
from clusterpipe.stages.embed import EmbedConfig, backbone_specs

KNOWN = {model.definition: model for model in MODELS}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_clusters_by_one_space_and_names_by_another(name: str) -> None:
    clusters, names = (KNOWN[definition] for definition in PRESETS[name])
    assert names.words == "open"
    assert clusters.spec.name != names.spec.name
    assert {clusters.licence, names.licence} <= {"Apache-2.0", "MIT"}


def test_presets_cost_more_from_fast_to_best() -> None:
    cost = [sum(KNOWN[definition].gmacs for definition in pair) for pair in PRESETS.values()]
    assert list(PRESETS) == ["fast", "balanced", "best"]
    assert cost == sorted(cost)


def test_a_preset_stands_for_its_backbones_wherever_they_are_given() -> None:
    assert expanded(["fast", "timm:resnet18"]) == (*PRESETS["fast"], "timm:resnet18")
    for config in (
        EmbedConfig(backbones=("fast",)),
        override(Config(), ["embed.backbones=['fast']"]).stages["embed"],
    ):
        assert config.backbones == PRESETS["fast"]
        assert backbone_specs(config) == [parse(text) for text in PRESETS["fast"]]
