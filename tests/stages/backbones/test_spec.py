"""How a backbone is written, and what is known of it without torch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.backbones import (
    EXAMPLES,
    BackboneSpec,
    local_settings,
    local_weights,
    open_backbone,
    parse,
)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("clip=open_clip:ViT-L-14@openai", ("clip", "open_clip", "ViT-L-14", "openai")),
        (
            "dino=timm:vit_small_patch14_dinov2.lvd142m",
            ("dino", "timm", "vit_small_patch14_dinov2.lvd142m", ""),
        ),
        (
            "timm:resnet18@/w/a=b@c:d.safetensors",
            ("timm", "timm", "resnet18", "/w/a=b@c:d.safetensors"),
        ),
        (
            "timm:vit_tiny@/w/a?b.pth?size=224&pool=class+average",
            ("timm", "timm", "vit_tiny", "/w/a?b.pth", 224, "class+average"),
        ),
        ("dino=timm:vit.tag?pool=class", ("dino", "timm", "vit.tag", "", 0, "class")),
        ("open_clip:RN50@openai", ("clip", "open_clip", "RN50", "openai")),
        (
            " packaged=packaged:efficientnet-lite0 ",
            ("packaged", "packaged", "efficientnet-lite0", ""),
        ),
    ],
)
def test_every_way_to_write_a_backbone(text: str, spec: tuple[Any, ...]) -> None:
    assert parse(text) == BackboneSpec(*spec)


@pytest.mark.parametrize("text", [*EXAMPLES.values(), "a=timm:vit@f.pth?size=98&pool=average"])
def test_a_backbone_is_written_as_it_was_read(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("clip=openclip:ViT-L-14@openai", "did you mean 'open_clip'"),
        ("ViT-L-14", "known: open_clip, timm, packaged"),
        ("clip=open_clip:", "names no model"),
        ("Clip=open_clip:RN50@openai", "lower-case"),
        ("skipped=timm:resnet18", "reserved"),
        ("class_name=timm:resnet18", "reserved"),
        ("concatenate=timm:resnet18", "reserved"),
        ("packaged:resnet18", "packaged=packaged:efficientnet-lite0"),
        ("timm:vit?size=big", "size is a number of pixels"),
        ("timm:vit?size=0", "size is a number of pixels"),
        ("timm:vit?pool=max", r"pool is one of class, average, class\+average"),
        ("timm:vit?pixels=224", r"size=PIXELS and pool="),
        ("clip=open_clip:RN50@openai?size=224", "other families nothing"),
    ],
)
def test_a_wrong_backbone_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse(text)


def test_weights_are_local_only_if_they_are_a_file(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    spec = parse(f"timm:resnet18@{file}")
    assert local_weights(spec) is None
    file.touch()
    assert local_weights(spec) == file
    assert local_settings(spec) is None
    settings = tmp_path / "model.json"
    settings.touch()
    assert local_settings(spec) == settings
    assert local_weights(parse("clip=open_clip:ViT-L-14@openai")) is None
    packaged = local_weights(parse("packaged:efficientnet-lite0"))
    assert packaged is not None
    assert packaged.is_file()


def test_a_weights_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*absent\.pt"):
        open_backbone(parse(f"timm:resnet18@{tmp_path}/absent.pt"))


@pytest.mark.parametrize(
    "setting",
    [{"device": "gpu"}, {"device": "cuda:99"}, {"device": "cpu:1"}, {"precision": "int8"}],
)
def test_a_wrong_device_or_precision_is_a_usage_error(setting: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(setting.values()))):
        open_backbone(parse("packaged:efficientnet-lite0"), **setting)


def test_the_package_imports_no_torch() -> None:
    code = (
        "import sys; from clusterpipe.stages import backbones as b;"
        "b.local_weights(b.parse('packaged:efficientnet-lite0'));"
        "print(*{'torch', 'timm', 'open_clip', 'torchvision'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
