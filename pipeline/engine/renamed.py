"""Settings that have another name now, or are none any more: what older files and runs still say.

Asked when settings are loaded, and when the identity stored in an artifact is compared with the one
it would have now.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, replace
from typing import Any

from clusterpipe.cache.provenance import Identity
from clusterpipe.stages.declaration import Stage, options_of


@dataclass(frozen=True)
class Fixed:
    """A setting that is none any more: whose it was, and the values that are now the only ones."""

    table: str
    values: tuple[Any, ...]


# (table, old field): the new key, or Fixed.
RENAMED: Mapping[str, str | Fixed] = {
    **{
        f"{stage}.{name}": f"compute.{name}"
        for stage in ("embed", "refine", "assign", "caption", "evaluate")
        for name in ("device", "download")
    },
    "assign.candidates": "assign.consensus.candidates",
    "assign.finish_distortion": "assign.self_label.distortion",
    "assign.finish_share": "assign.self_label.share",
    "assign.finish_rounds": "assign.self_label.rounds",
    "assign.neighbours": "assign.spectral.neighbours",
    "assign.exact_up_to": "assign.spectral.exact_up_to",
    "assign.landmarks": Fixed("assign.spectral", (1024,)),
    "assign.components": "assign.coding_length.components",
    "assign.rounds": Fixed("assign.coding_length", (15,)),
    "assign.scp_preset": "assign.scp.preset",
    "assign.scp_positives": "assign.scp.positives",
    "assign.scp_alpha": "assign.scp.alpha",
    "assign.scp_start": Fixed("assign.scp", ("clusters",)),
    "assign.scp_epochs": Fixed("assign.scp", (0,)),
    "assign.scp_prior": Fixed("assign.scp", (1.0,)),
    "assign.scp_consistency": Fixed("assign.scp", (1.0,)),
    "assign.scp_confidence": Fixed("assign.scp", (1.0,)),
    "assign.temi_preset": "assign.temi.preset",
    "assign.temi_heads": Fixed("assign.temi", (0,)),
    "assign.temi_epochs": Fixed("assign.temi", (0,)),
    "assign.temi_beta": Fixed("assign.temi", (0.6,)),
    "assign.turtle_preset": "assign.turtle.preset",
    "assign.turtle_steps": Fixed("assign.turtle", (0,)),
    "assign.turtle_balance": "assign.turtle.balance",
    "assign.turtle_prior": Fixed("assign.turtle", (1.0,)),
    "assign.class_names": "assign.zero_shot.class_names",
    "assign.vocabulary": "assign.tac.vocabulary",
    "assign.nouns": Fixed("assign.tac", (5,)),
    "assign.text_temperature": Fixed("assign.tac", (0.0,)),
    "assign.tac_epochs": Fixed("assign.tac", (0,)),
    "assign.tac_balance": Fixed("assign.tac", (5.0,)),
}


def brought_up(was: Identity, now: Identity, stage: Stage, settings: Any) -> Identity:
    """Return the identity stored on an artifact of `stage` in the words of today.

    settings: of the stage, as they are now. Settings have today's names; those of heads that do not
    run, which change nothing, are left out; and those that there were not yet have the value that
    the artifact was made with, where that is known (`option(..., absent=VALUE)`).
    """
    used = {f"{stage.table}.{name}" for name in getattr(settings, "in_use", dict)()}
    idle = {f"{stage.table}.{name}" for name in getattr(settings, "heads", {})} - used
    found: dict[str, Any] = {}
    for name, value in was.config.items():
        key = f"{stage.table}.{name}"
        new = RENAMED.get(key, key)
        table = new.table if isinstance(new, Fixed) else new.rpartition(".")[0]
        if table in idle or (isinstance(new, Fixed) and value in new.values):
            continue
        found[name if isinstance(new, Fixed) else new.partition(".")[2]] = value
    return replace(was, config={**dict(_missing(found, now, stage, settings)), **found})


def _missing(
    found: Mapping[str, Any], now: Identity, stage: Stage, settings: Any
) -> Iterator[tuple[str, Any]]:
    """Settings that were not stored, and what they are taken to have been.

    Of a head that did not run, what they are now: that it runs is another difference already.
    """
    absent = {spec.name: spec.metadata["absent"] for spec in options_of(settings)}
    for table, head in getattr(settings, "in_use", dict)().items():
        own = {f"{table}.{spec.name}": spec for spec in options_of(head)}
        ran = bool(found.keys() & own.keys())
        for name, spec in own.items():
            absent[name] = spec.metadata["absent"] if ran else now.config.get(name)
    for name, value in absent.items():
        if name not in found and name in now.config and value is not MISSING:
            yield name, value
