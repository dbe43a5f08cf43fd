"""`clusterpipe models`: the backbones, what they cost, and whether they are here."""

from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from clusterpipe.cache.escaping import json_text
from clusterpipe.pipeline.engine.units import size
from clusterpipe.stages.backbones.catalogue import MODELS, Model

WIDTH = 130  # a row is wrapped by a narrower terminal, never cut
EXAMPLE = "clip=open_clip:ViT-L-14@openai"
NOTES = (
    "Licences are those of the weights; --json says who stated each. OpenAI has licensed the code "
    "of CLIP (MIT) and not said which licence its weights are under.\n"
    "Any other model of open_clip or timm can be named in the same way, and a local file after @. "
    "To fetch and use one:\n"
    f"  clusterpipe run-all FOLDER --set 'embed.backbones=[\"{EXAMPLE}\"]' --download"
)


def print_models(*, as_json: bool) -> None:
    """Prints the catalogue on stdout. Looks at the disk only."""
    if as_json:
        typer.echo(json_text({"schema_version": 1, "models": [_row(model) for model in MODELS]}))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("backbone", "on disk"):
        table.add_column(heading, no_wrap=True)
    for heading in ("size", "width", "pixels"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("words", "licence", "trained on"):
        table.add_column(heading)
    for model in MODELS:
        here = "yes" if model.on_disk() else "no"
        figures = (size(model.bytes), str(model.width), str(model.pixels))
        table.add_row(
            model.definition, here, *figures, model.words, model.licence, model.trained_on
        )
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(table)
    console.print(NOTES, markup=False, style="dim", soft_wrap=True)


def _row(model: Model) -> dict[str, Any]:
    return {
        "definition": model.definition,
        "parameters": model.parameters,
        "bytes": model.bytes,
        "width": model.width,
        "pixels": model.pixels,
        "words": model.words,
        "licence": model.licence,
        "licence_source": model.licence_source,
        "trained_on": model.trained_on,
        "on_disk": str(path) if (path := model.on_disk()) else None,
    }
