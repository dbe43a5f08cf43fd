"""Functions that embed: named by their module, or given in Python."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.backbones import local_weights, open_backbone, parse
from clusterpipe.stages.backbones.python_function import given

CODE = """
import numpy as np

def encode(pictures):
    return [np.asarray(picture, float).mean(axis=(0, 1)) for picture in pictures]

encode.size = 16
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module in the working directory, and not on the path of Python."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my_colours.py"
    file.write_text(CODE)
    yield file
    sys.modules.pop("my_colours", None)


def features_of(backbone: Any, *colours: str) -> Any:
    pictures = [Image.new("RGB", (30, 20), colour) for colour in colours]
    return backbone.encode_images(np.stack([backbone.prepare(picture) for picture in pictures]))


def test_a_function_of_a_module_embeds(module: Path) -> None:
    spec = parse("mine=python:my_colours.encode")
    backbone = open_backbone(spec)
    np.testing.assert_allclose(features_of(backbone, "red", "blue"), [[255, 0, 0], [0, 0, 255]])
    assert (backbone.width, backbone.input_shape) == (3, (3, 16, 16))
    assert local_weights(spec) == module


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("my_colours.decode", "no attribute 'decode'"),
        ("no_such_module.encode", "No module named"),
        ("my_colours.number", "is no function"),
    ],
)
def test_what_is_not_there_is_said(module: Path, named: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        open_backbone(parse(f"python:{named}"))


def test_a_name_without_a_module_is_refused() -> None:
    with pytest.raises(UsageError, match="names no function"):
        parse("python:encode")


def test_a_function_that_is_given_is_found_by_its_definition() -> None:
    def encode(pictures: Any) -> Any:
        return torch.ones(len(pictures), 5, dtype=torch.float16)

    backbone = open_backbone(parse(given(encode)))
    np.testing.assert_array_equal(features_of(backbone, "red"), np.ones((1, 5)))
    assert backbone.input_shape == (3, 224, 224)
    with pytest.raises(UsageError, match="encode=function"):
        open_backbone(parse("python:my_colours.encode@000000000000"))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (lambda pictures: np.ones(len(pictures)), r"shape \(1,\)"),
        (lambda pictures: np.ones((len(pictures) + 1, 2)), r"shape \(2, 2\)"),
        (lambda pictures: "features", "gave str"),
        (lambda pictures: np.full((len(pictures), 2), np.inf), "not finite"),
    ],
)
def test_features_are_a_row_of_finite_numbers_each(found: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        given(found)


def test_another_model_behind_the_same_source_is_another_backbone() -> None:
    def by(model: Any) -> Any:
        return lambda pictures: [model @ np.asarray(p, float).mean(axis=(0, 1)) for p in pictures]

    one, other = np.random.default_rng(0).normal(size=(2, 20, 3))
    assert given(by(one)) == given(by(one * (1 + 1e-7)))
    assert given(by(one)) != given(by(other))
