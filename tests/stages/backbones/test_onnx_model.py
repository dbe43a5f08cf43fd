"""onnx:FILE with graphs made here: a pooling of colours, whose features are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clusterpipe.cache.errors import DamagedArtifact, UsageError
from clusterpipe.stages.backbones import open_backbone, parse

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SETTINGS = {
    "input_size": [3, 8, 8],
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


def graph(
    file: Path, *, batch: Any = "b", outputs: tuple[str, ...] = ("pooled",), **io: Any
) -> Path:
    """A graph that averages the pixels of each channel, and its settings beside it."""
    from onnx import TensorProto, helper

    kind = io.get("kind", TensorProto.FLOAT)
    shape = io.get("shape", (batch, 3, 8, 8))
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], [name], axes=[2, 3], keepdims=0)
        for name in outputs
    ]
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "colours",
            [helper.make_tensor_value_info("pixels", kind, shape)],
            [helper.make_tensor_value_info(name, kind, (batch, 3)) for name in outputs],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.save(made, file)
    file.with_suffix(".json").write_text(json.dumps(SETTINGS))
    return file


def opened(file: Path, **options: Any) -> Any:
    return open_backbone(parse(f"mine=onnx:{file}"), **options)


@pytest.mark.parametrize("batch", ["b", 1, 2])
def test_features_are_what_the_graph_gives(tmp_path: Path, batch: Any) -> None:
    backbone = opened(graph(tmp_path / "colours.onnx", batch=batch))
    pictures = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "white")]
    pixels = np.stack([backbone.prepare(picture) for picture in pictures])
    expected = [[1, -1, -1], [-1, 1, -1], [1, 1, 1]]
    np.testing.assert_allclose(backbone.encode_images(pixels), expected, atol=1e-6)
    assert (backbone.width, backbone.input_shape, backbone.words) == (3, (3, 8, 8), "none")
    assert backbone.preprocessing == SETTINGS


def test_other_bytes_have_another_digest(tmp_path: Path) -> None:
    one, two = graph(tmp_path / "1.onnx"), graph(tmp_path / "2.onnx", batch=4)
    assert opened(one).weights_digest != opened(two).weights_digest


def test_the_output_may_be_named(tmp_path: Path) -> None:
    file = graph(tmp_path / "two.onnx", outputs=("tokens", "image_embeds"))
    assert opened(file).encode_images(np.ones((1, 3, 8, 8), np.float32)).shape == (1, 3)
    unclear = graph(tmp_path / "unclear.onnx", outputs=("first", "second"))
    with pytest.raises(UsageError, match="call it image_embeds"):
        opened(unclear)


def test_settings_are_asked_for(tmp_path: Path) -> None:
    file = graph(tmp_path / "colours.onnx")
    file.with_suffix(".json").unlink()
    with pytest.raises(UsageError, match=r'(?s)colours\.json.*"mean"'):
        opened(file)


def test_another_size_or_input_is_refused(tmp_path: Path) -> None:
    file = graph(tmp_path / "small.onnx", shape=("b", 3, 4, 4))
    with pytest.raises(UsageError, match="input_size"):
        opened(file)
    whole = graph(tmp_path / "ints.onnx", kind=onnx.TensorProto.INT32)
    with pytest.raises(UsageError, match="not one array"):
        opened(whole)


def test_what_is_no_graph_is_damaged(tmp_path: Path) -> None:
    file = graph(tmp_path / "colours.onnx")
    for content in (b"", b"junk", file.read_bytes()[:40]):
        file.write_bytes(content)
        with pytest.raises(DamagedArtifact, match="no ONNX graph"):
            opened(file)
    with pytest.raises(UsageError, match="there is no file"):
        opened(tmp_path / "nothing.onnx")


def test_not_finite_and_half_precision_are_refused(tmp_path: Path) -> None:
    backbone = opened(graph(tmp_path / "colours.onnx"))
    with pytest.raises(UsageError, match="not finite"):
        backbone.encode_images(np.full((1, 3, 8, 8), np.nan, np.float32))
    with pytest.raises(UsageError, match="precision=auto"):
        opened(tmp_path / "colours.onnx", precision="fp16")
