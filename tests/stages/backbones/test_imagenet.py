"""Names for classes that share them."""

import pytest
from timm.data.imagenet_info import ImageNetInfo

from clusterpipe.stages.backbones.imagenet import classes, unique_names


@pytest.mark.parametrize("subset", ["imagenet-1k", "imagenet-21k"])
def test_each_class_has_a_name_of_its_own(subset: str) -> None:
    found = classes(subset)
    names = found.name
    assert len(names) == len({name.casefold() for name in names})
    described = ImageNetInfo(subset).label_descriptions()
    assert len(names) == len(described)
    plain = sum(name == text.split(", ")[0] for name, text in zip(names, described, strict=True))
    assert plain > 0.85 * len(names)


def test_shared_names_are_told_apart_in_order() -> None:
    synonyms = [["crane"], ["tench", "Tinca"], ["Crane", "derrick"], ["crane"], ["crane"]]
    definitions = [
        "a bird that wades",
        "a fish",
        "a machine",
        "(botany) a herb",
        "a bird that wades",
    ]
    assert unique_names(synonyms, definitions) == (
        "crane (a bird)",
        "tench",
        "derrick",
        "crane (botany)",
        "crane (a bird that wades)",
    )
