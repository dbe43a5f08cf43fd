"""The packaged backbone against timm's own forward pass and a few photographs."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import timm
import torch
from PIL import Image

from clusterpipe.cache.errors import DamagedArtifact, UsageError
from clusterpipe.stages.backbones import Backbone, local_weights, open_backbone, parse
from clusterpipe.stages.backbones.packaged import _in_order
from clusterpipe.stages.backbones.weights import sha256

SPEC = parse("packaged:efficientnet-lite0")
CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return open_backbone(SPEC, device="cpu")


def photograph(name: str) -> Image.Image:
    return Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")


def test_it_says_what_it_is(backbone: Backbone) -> None:
    file = local_weights(SPEC)
    assert file is not None
    assert (backbone.width, backbone.input_shape) == (1280, (3, 224, 224))
    assert (backbone.words, backbone.device, backbone.precision) == ("closed", "cpu", "fp32")
    assert backbone.weights_digest == sha256(file)
    assert backbone.preprocessing["mean"] == [127 / 255] * 3


@pytest.mark.parametrize(
    ("name", "right"),
    [("chelsea.png", CATS), ("coffee.png", {"espresso", "cup"}), ("camera.png", {"tripod"})],
)
def test_it_recognises_photographs(backbone: Backbone, name: str, right: set[str]) -> None:
    features = backbone.encode_images(backbone.prepare(photograph(name))[None])
    probability = backbone.word_probabilities(features)
    assert backbone.vocabulary()[int(probability.argmax())] in right
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-6)


def test_pixels_are_centred_on_127_and_scaled_by_128(backbone: Backbone) -> None:
    pixels = backbone.prepare(Image.new("RGB", (300, 400), (127, 255, 0)))
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:, 100, 100], [0, 1, -127 / 128], atol=1e-6)


def test_the_shorter_side_is_256_and_the_middle_is_kept(backbone: Backbone) -> None:
    """A bright middle of 224/256 of the shorter side fills the crop; the rest is cut off."""
    canvas = np.zeros((512, 1024, 3), np.uint8)
    canvas[32:480, 288:736] = 255
    assert backbone.prepare(Image.fromarray(canvas))[:, 4:-4, 4:-4].min() > 0.99
    canvas[:, :] = 255
    canvas[32:480, 288:736] = 0
    assert backbone.prepare(Image.fromarray(canvas))[:, 4:-4, 4:-4].max() < -0.99


def test_features_and_probabilities_are_timms_own(backbone: Backbone) -> None:
    weights = torch.load(local_weights(SPEC), weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    batch = np.stack([backbone.prepare(photograph(n)) for n in ("chelsea.png", "rocket.jpg")])
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(batch))
    features = backbone.encode_images(batch)
    np.testing.assert_allclose(
        backbone.word_probabilities(features), logits.softmax(dim=1), atol=1e-5
    )


def test_a_row_does_not_depend_on_its_batch(backbone: Backbone) -> None:
    batch = np.random.default_rng(0).standard_normal((5, 3, 224, 224), np.float32)
    batch.flags.writeable = False
    together = backbone.encode_images(batch)
    alone = backbone.encode_images(batch[3:4])
    np.testing.assert_allclose(together[3:4], alone, atol=1e-5)


def test_its_names_are_a_thousand_and_unique(backbone: Backbone) -> None:
    names = backbone.vocabulary()
    assert len(names) == len({name.casefold() for name in names}) == 1000
    assert (names[0], names[281], names[967]) == ("tench", "tabby", "espresso")
    assert names[134] == "crane (large long-necked wading bird of marshes)"
    assert names[517] == "crane (lifts and moves heavy objects)"


def test_features_grow_along_a_word_as_its_probability_does(backbone: Backbone) -> None:
    """Differences of log-probability between words are those of products, but for their biases."""
    rows = np.random.default_rng(0).random((4, 1280)).astype(np.float32)
    nothing, found = (np.log(backbone.word_probabilities(x)) for x in (0 * rows, rows))
    gained = found - nothing
    product = rows @ backbone.word_directions().T
    expected = gained - gained.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(product, expected, atol=1e-3)


def test_other_texts_are_refused_with_a_remedy(backbone: Backbone) -> None:
    with pytest.raises(UsageError, match="open_clip:ViT-L-14@openai"):
        backbone.encode_texts(["a photo of a cat"])


def test_opening_it_needs_no_network(no_network: None) -> None:
    assert open_backbone(SPEC, device="cpu").width == 1280


@pytest.mark.parametrize("damage", ["truncated", "short", "long", "transposed", "no weights"])
def test_a_file_with_other_tensors_is_damaged(tmp_path: Path, damage: str) -> None:
    expected = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    tensors = {
        "short": {"x": torch.zeros(2, 3)},
        "long": {"x": torch.zeros(2, 3), "y": torch.zeros(4), "z": torch.zeros(1)},
        "transposed": {"x": torch.zeros(3, 2), "y": torch.zeros(4)},
        "no weights": {"x": "text", "y": "text"},
    }
    file = tmp_path / "w.pth"
    torch.save(tensors.get(damage, expected), file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DamagedArtifact, match=r"w\.pth"):
        _in_order(file, SPEC, expected)
