"""From settings to the options of a command, so that no help text is written twice."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, get_origin

import typer

from clusterpipe.pipeline.commands.completing import values_of
from clusterpipe.pipeline.engine.config import Config
from clusterpipe.stages.declaration import options_of


def command(
    name: str,
    help: str,
    body: Callable[..., None],
    base: Mapping[str, tuple[Any, Any]],
    keys: Sequence[str],
    flags: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """A function with the signature that typer reads: `base`, then one option per setting.

    `base` maps parameter names to (annotation, default); `keys` are settings, `table.field`.
    An option is called like its setting, or as `flags` says of its key. `body` receives the base
    parameters by name, and as `settings` those that were given, by key.
    """
    options = {
        key.rpartition(".")[2]: (key, _option(key, (flags or {}).get(key, ""))) for key in keys
    }

    def run(**given: Any) -> None:
        chosen = {key: given.pop(field) for field, (key, _) in options.items()}
        body(settings={key: v for key, v in chosen.items() if v not in (None, [])}, **given)

    parameters = {**base, **{field: (kind, None) for field, (_, kind) in options.items()}}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kind)
            for name, (kind, value) in parameters.items()
        ]
    )
    run.__name__ = name.replace("-", "_")
    run.__doc__ = help
    return run


def keys_of(table: str) -> list[str]:
    """The settings of a table that are options; of a source not its path, which is an argument."""
    names = [spec.name for spec in options_of(Config().tables()[table])]
    no_options = {("source", "path"), ("source", "also"), ("source", "appended")}
    return [f"{table}.{name}" for name in names if (table, name) not in no_options]


def _field(key: str) -> Field[Any]:
    table, _, name = key.rpartition(".")
    return next(f for f in fields(Config().tables()[table]) if f.name == name)


def _option(key: str, flag: str) -> Any:
    """The annotation of the option for a setting; None, or an empty list, means not given."""
    spec = _field(key)
    flag = flag or "--" + spec.name.replace("_", "-")
    kind: Any = spec.type
    choices = spec.metadata.get("choices", ())
    text = _escaped(spec.metadata["help"] + (f" ({', '.join(choices)})" if choices else ""))
    flags = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    default = f" (default: {_shown(spec.default)})" if spec.default not in ("", ()) else ""
    option = typer.Option(flags, help=text + default, autocompletion=values_of(key))
    wanted: Any = list[kind.__args__[0]] if get_origin(kind) is tuple else kind
    return Annotated[wanted | None, option]


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return _escaped(" ".join(map(str, default)))
    if isinstance(default, bool):
        return "yes" if default else "no"
    return _escaped(str(default))


def _escaped(text: str) -> str:
    """Square brackets would vanish as rich markup."""
    return text.replace("[", "\\[")
