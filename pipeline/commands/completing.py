"""Completion by the shell behind an option: stages, methods, formats, settings, runs."""

from collections.abc import Callable
from dataclasses import fields

from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.results.runs import runs
from clusterpipe.stages import STAGES
from clusterpipe.stages.backbones.presets import PRESETS
from clusterpipe.stages.heads import ALL

Complete = Callable[[str], list[str]]

METHODS = ("assign.methods", "assign.candidates")
DEVICES = ("auto", "cpu", "cuda", "mps")


def among(*words: str) -> Complete:
    """Completes to one of `words`."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def values_of(key: str) -> Complete | None:
    """Completes the value of a setting, if it is one of a few."""
    words = _values(key)
    return among(*words) if words else None


def stages(incomplete: str) -> list[str]:
    """Completes the name of a stage."""
    return among(*STAGES)(incomplete)


def settings(incomplete: str) -> list[str]:
    """Completes the key of a setting, or a table."""
    config = Config()
    return among(*config.tables(), *config.keys())(incomplete)


def assignments(incomplete: str) -> list[str]:
    """Completes `table.field=value`."""
    key, equals, value = incomplete.partition("=")
    if not equals:
        return [f"{found}=" for found in among(*Config().keys())(key)]
    return [f"{key}={found}" for found in among(*_values(key))(value)]


def run_directories(incomplete: str) -> list[str]:
    """Completes a run directory."""
    return among(*map(str, runs()))(incomplete)


def _values(key: str) -> tuple[str, ...]:
    if key in METHODS:
        return ("auto", *ALL) if key == METHODS[0] else tuple(ALL)
    if key == "embed.backbones":
        return tuple(PRESETS)
    table, _, name = key.rpartition(".")
    if name == "device":
        return DEVICES
    owner = Config().tables().get(table)
    if owner is None:
        return ()
    spec = next((f for f in fields(owner) if f.name == name), None)
    if spec is None:
        return ()
    return ("true", "false") if spec.type is bool else tuple(spec.metadata.get("choices", ()))
