"""Functions that embed in the place of a backbone: given in Python, or named by their module."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.backbones.protocol import BackboneSpec

if TYPE_CHECKING:
    from PIL.Image import Image

Encode: TypeAlias = "Callable[[Sequence[Image]], Any]"

_given: dict[str, Encode] = {}


def keep(definition: str, function: Encode) -> None:
    """Make a function what `definition` stands for, for as long as the process lives."""
    _given[definition] = function


def source_file(spec: BackboneSpec) -> Path | None:
    """The file of the module that holds the function; None for a function that was given."""
    if spec.definition in _given:
        return None
    with _working_directory(), suppress(ImportError, ValueError, AttributeError):
        found = find_spec(spec.model.rpartition(".")[0])
        return Path(found.origin) if found and found.has_location and found.origin else None
    return None


def function_of(spec: BackboneSpec) -> Encode:
    """The function that was given, or else is imported; the working directory counts, too.

    Raises UsageError when there is none.
    """
    if spec.definition in _given:
        return _given[spec.definition]
    module, _, name = spec.model.rpartition(".")
    if spec.weights:
        raise UsageError(
            f"{spec.definition} was a function of the Python process that embedded: give it again, "
            "as in cp.run(..., encode=function)"
        )
    try:
        with _working_directory():
            function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{spec.definition}: {error}") from error
    if not callable(function):
        raise UsageError(f"{spec.definition} is no function, but {type(function).__name__}")
    return function  # type: ignore[no-any-return]


@contextmanager
def _working_directory() -> Iterator[None]:
    """Modules of the working directory are found, after all others."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def code_digest(function: Encode) -> str:
    """SHA-256 of the function's source; of its name where Python does not know the source."""
    code = function if inspect.isroutine(function) else type(function)
    try:
        text = inspect.getsource(code)
    except (OSError, TypeError):
        text = f"{code.__module__}.{code.__qualname__}"
    return hashlib.sha256(text.encode()).hexdigest()
