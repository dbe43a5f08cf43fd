"""The names of ImageNet's classes, their synonyms and definitions, as timm carries them."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from timm.data.imagenet_info import ImageNetInfo

_CLAUSE = re.compile(r"[;:,(]| (?:that|which|having) ")
_JOINING = re.compile(r"(?: (?:a|an|the|and|or|of|in|on|at|by|to|for|with|from|as))+$")
_GIST_WORDS = 6
_DOMAIN = re.compile(r"\((\w[\w ]*)\)")


@dataclass(frozen=True)
class ImageNetClasses:
    """Classes in index order: a name each, its WordNet synonyms (the name's own included), and
    the definition."""

    name: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    definition: tuple[str, ...]


@cache
def classes(subset: str) -> ImageNetClasses:
    """The classes of `subset` ("imagenet-1k", "imagenet-21k"); no two names are alike.

    The name is the first synonym. Where classes share it, a later synonym or a gist of the
    definition tells them apart: "crane (lifts and moves heavy objects)". Case does not count.
    """
    info = ImageNetInfo(subset)
    synonyms = [text.split(", ") for text in info.label_descriptions()]
    detailed = info.label_descriptions(detailed=True)
    definitions = [text.split(": ", 1)[1] for text in detailed]
    names = unique_names(synonyms, definitions)
    return ImageNetClasses(names, tuple(map(tuple, synonyms)), tuple(definitions))


def unique_names(synonyms: list[list[str]], definitions: list[str]) -> tuple[str, ...]:
    """A name per class, no two alike: the first candidate that no other class has or shares."""
    shared = Counter(words[0].casefold() for words in synonyms)
    taken = set(shared)
    names = []
    for words, definition in zip(synonyms, definitions, strict=True):
        name = words[0]
        if shared[name.casefold()] > 1:
            name = next(w for w in _candidates(words, definition) if w.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return tuple(names)


def _candidates(words: list[str], definition: str) -> list[str]:
    """Names to try in turn; the last ones, numbered, cannot all be taken."""
    described = [f"{words[0]} ({text})" for text in (_gist(definition), definition)]
    numbered = [f"{described[-1]} {number}" for number in range(2, 100)]
    return [*words[1:], *described, *numbered]


def _gist(definition: str) -> str:
    """The definition's domain "(botany)" if it opens with one, else a few words of its start."""
    domain = _DOMAIN.match(definition)
    if domain:
        return domain.group(1)
    clause = _CLAUSE.split(definition, maxsplit=1)[0].split()
    return _JOINING.sub("", " ".join(clause[:_GIST_WORDS]))
