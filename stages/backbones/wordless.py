"""Backbones that know no words: what each method about words says instead."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.backbones.protocol import EXAMPLES, BackboneSpec, Words

_REMEDY = (
    f"for words of your own, embed with an open_clip backbone, such as {EXAMPLES['open_clip']}"
)


class Wordless:
    """Base of backbones; those that know words override what they can."""

    words: ClassVar[Words] = "none"
    spec: BackboneSpec

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise UsageError(f"{self.spec.definition} encodes no texts; {_REMEDY}")

    def vocabulary(self) -> tuple[str, ...]:
        raise UsageError(f"{self.spec.definition} has no vocabulary of its own; {_REMEDY}")

    def word_probabilities(self, features: NDArray[Any]) -> NDArray[np.float32]:
        raise UsageError(f"{self.spec.definition} scores no words of its own; {_REMEDY}")

    def word_directions(self) -> NDArray[np.float32]:
        raise UsageError(f"{self.spec.definition} has no vocabulary of its own; {_REMEDY}")
