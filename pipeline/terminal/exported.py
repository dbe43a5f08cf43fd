"""Output of `clusterpipe export`."""

from dataclasses import asdict

import typer

from clusterpipe.cache.escaping import escaped, json_text
from clusterpipe.pipeline.results.export import Exported


def print_export(done: Exported, *, as_json: bool) -> None:
    """Prints on stdout where the export lies, or what it would be; what it lacks on stderr."""
    if as_json:
        typer.echo(json_text({"schema_version": 1, **asdict(done), "path": str(done.path)}))
        return
    typer.echo(_intention(done) if done.dry_run else done.path)
    if done.missing:
        typer.echo(f"{done.missing:,} images are no longer in the source", err=True)


def _intention(done: Exported) -> str:
    into = " in folders" if done.folders else ""
    lines = [f"would write {done.images:,} images{into}: {done.path}"]
    lines += [f"{images:8,}  {escaped(name)}" for name, images in done.folders.items()]
    if done.replaced:
        lines.append(f"and replace what an earlier export wrote there ({done.replaced:,} files)")
    return "\n".join(lines)
