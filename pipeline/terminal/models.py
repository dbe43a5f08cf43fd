"""`clusterpipe models`: the backbones, what they cost, whether they are here; their download."""

from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.escaping import json_text
from clusterpipe.pipeline.engine.units import size
from clusterpipe.stages.backbones import BackboneSpec, open_backbone, parse
from clusterpipe.stages.backbones.catalogue import MODELS, Model
from clusterpipe.stages.backbones.presets import PRESETS, expanded

WIDTH = 150  # a row is wrapped by a narrower terminal, never cut
NOTES = (
    "GMAC: thousand million multiplications per image; a CPU core does some 26 of them a second.\n"
    "Licences are those of the weights; --json says who stated each. OpenAI has licensed the code "
    "of CLIP (MIT) and not said which licence its weights are under; that of DINOv3 has terms of "
    "its own, that of MobileCLIP2 allows research only.\n"
    "Any other model of open_clip or timm can be named in the same way, and a local file after @. "
    "To fetch and use one, or a pair of spaces by its name:\n"
    "  clusterpipe models fetch fast\n"
    "  clusterpipe run-all FOLDER --backbone fast"
)


def print_models(*, as_json: bool) -> None:
    """Prints the catalogue on stdout. Looks at the disk only."""
    if as_json:
        document = {
            "schema_version": 2,
            "presets": PRESETS,
            "models": [_row(model) for model in MODELS],
        }
        typer.echo(json_text(document))
        return
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(_table(MODELS))
    for name, (clusters, names) in PRESETS.items():
        console.print(f"{name}: {clusters} to cluster, {names} to name", soft_wrap=True)
    console.print(NOTES, markup=False, style="dim", soft_wrap=True)


def fetch_models(names: Sequence[str]) -> None:
    """Downloads the weights of backbones or presets, after telling sizes and licences.

    Each is opened once, so that a file that does not fit is found now. Raises UsageError for what
    is no backbone, WeightsMissing when the server does not answer, DamagedArtifact.
    """
    specs = [parse(text) for text in expanded(names)]
    console = Console(highlight=False, stderr=True)
    console.width = max(console.width, WIDTH)
    console.print(_table(_known(spec) for spec in specs))
    for spec in specs:
        backbone = open_backbone(spec, device="cpu", download=True)
        if backbone.words == "open":
            backbone.encode_texts(["its tokens"])
        typer.echo(f"{spec}: on disk, {backbone.width} features of {backbone.input_shape[1]} px")


def _known(spec: BackboneSpec) -> Model:
    """The catalogue's entry, or one that says how little is known."""
    unknown = Model(spec.definition, 0, 0, spec.size, 0, "none", "not in the catalogue", "", "")
    same = (model for model in MODELS if model.spec.definition == spec.definition)
    return next(same, unknown)


def _table(models: Iterable[Model]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("backbone", "on disk"):
        table.add_column(heading, no_wrap=True)
    for heading in ("size", "width", "pixels", "GMAC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("words", "licence", "trained on"):
        table.add_column(heading)
    for model in models:
        here = "yes" if model.on_disk() else "no"
        numbers = (model.width, model.pixels, round(model.gmacs, 1))
        figures = [size(model.bytes) if model.bytes else "", *(str(n or "") for n in numbers)]
        table.add_row(
            model.definition, here, *figures, model.words, model.licence, model.trained_on
        )
    return table


def _row(model: Model) -> dict[str, Any]:
    return {
        "definition": model.definition,
        "parameters": model.parameters,
        "bytes": model.bytes,
        "width": model.width,
        "pixels": model.pixels,
        "gmacs": model.gmacs,
        "words": model.words,
        "licence": model.licence,
        "licence_source": model.licence_source,
        "trained_on": model.trained_on,
        "on_disk": str(path) if (path := model.on_disk()) else None,
    }
