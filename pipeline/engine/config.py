"""The settings of a run: defaults, then a file, then `--set`, then options."""

import textwrap
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomlkit

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import SourceConfig
from clusterpipe.pipeline.engine.renamed import RENAMED, Fixed
from clusterpipe.stages import STAGES
from clusterpipe.stages.declaration import Compute, check, checked, nearest, options_of

_SEED_HELP = "the one seed; every stage derives its own from it"


def _defaults() -> dict[str, Any]:
    return {stage.replace("-", "_"): STAGES[stage].config() for stage in STAGES}


@dataclass(frozen=True)
class Config:
    """Every setting of a run: the source, the seed, where to compute, and one table per stage.

    `origin` says for each `table.field` that is not a default where its value came from.
    """

    source: SourceConfig = SourceConfig()
    seed: int = field(
        default=0,
        metadata={"help": _SEED_HELP},
    )
    compute: Compute = Compute()
    stages: Mapping[str, Any] = field(default_factory=_defaults)
    origin: Mapping[str, str] = field(default_factory=dict)

    def of(self, stage: str) -> Any:
        """The config of a stage, by its command name (`estimate-k`) or table (`estimate_k`)."""
        return self.stages[stage.replace("-", "_")]

    def tables(self) -> dict[str, Any]:
        """The config dataclass of every TOML table, that of a head after its stage's."""
        found = {"source": self.source, "compute": self.compute}
        for table, owner in self.stages.items():
            heads = getattr(owner, "heads", {})
            found |= {table: owner, **{f"{table}.{name}": head for name, head in heads.items()}}
        return found

    def get(self, key: str) -> Any:
        """The value of `table.field` or `seed`. Raises UsageError with the nearest valid key."""
        table, name = self._locate(key)
        return getattr(self._owner(table), name)

    def set(self, key: str, value: Any, origin: str) -> "Config":
        """A config with one value replaced. Raises UsageError for an unknown key or a bad value.

        A former name is taken for the present one.
        """
        normal = key.replace("-", "_")
        if isinstance(RENAMED.get(normal), Fixed):
            return self._without(normal, value)
        table, name = self._locate(key)
        owner = self._owner(table)
        spec = next(f for f in fields(owner) if f.name == name)
        changed = replace(owner, **{name: checked(spec, value, f"{table}.{name}".lstrip("."))})
        moved = changed if table == "" else self._with(table, changed)
        return replace(moved, origin={**self.origin, f"{table}.{name}".lstrip("."): origin})

    def checked(self) -> "Config":
        """The same with every stage's settings checked. Raises UsageError like `set`."""
        return replace(self, stages={table: check(owner) for table, owner in self.stages.items()})

    def keys(self) -> list[str]:
        """Every valid key."""
        tables = self.tables().items()
        return ["seed", *(f"{t}.{spec.name}" for t, owner in tables for spec in options_of(owner))]

    def keys_of(self, name: str) -> list[str]:
        """The key `table.field` or `seed`, or every key of a table.

        Raises UsageError with the nearest valid name.
        """
        normal, tables = name.replace("-", "_"), self.tables()
        if normal in tables:
            return [key for key in self.keys() if key.startswith(f"{normal}.")]
        if normal not in self.keys():
            raise UsageError(f"there is no setting {name!r}{nearest(normal, self.keys())}")
        return [normal]

    def _locate(self, key: str) -> tuple[str, str]:
        normal = key.replace("-", "_")
        new = RENAMED.get(normal, normal)
        keys = self.keys()
        if not isinstance(new, str) or new not in keys:
            raise UsageError(f"there is no setting {key!r}{nearest(normal, keys)}")
        table, _, name = new.rpartition(".")
        return table, name

    def _owner(self, table: str) -> Any:
        return self.tables()[table] if table else self

    def _with(self, table: str, owner: Any) -> "Config":
        """A config with one table replaced."""
        if table in ("source", "compute"):
            return replace(self, **{table: owner})
        stage, _, head = table.partition(".")
        if head:
            whole = self.stages[stage]
            owner = replace(whole, heads={**whole.heads, head: owner})
        return replace(self, stages={**self.stages, stage: owner})

    def _without(self, key: str, value: Any) -> "Config":
        """The same config, if the former setting has a value that it always has now."""
        if _is_default(key, value):
            return self
        raise UsageError(f"{key} is no setting any more; for the others see `clusterpipe heads`")


def load(
    config: Config,
    path: Path,
    origin: str | None = None,
    *,
    outlived: bool = False,
    without: Collection[str] = (),
) -> Config:
    """`config` with the settings of a TOML file on top. Raises UsageError naming file and key.

    Settings in `without` are passed over. With `outlived`, settings that there are no longer are
    left out: a run kept by an older version is opened by this one, and its stages tell in which
    settings they differ.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error
    known = config.keys()
    for key, value in _flat(document):
        former = RENAMED.get(key)
        gone = outlived and key not in known and not isinstance(former, str)
        if key in without or gone or (former is not None and _is_default(key, value)):
            continue
        try:
            config = config.set(key, value, origin or str(path))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    return config


def override(config: Config, assignments: Iterable[str]) -> Config:
    """`config` with `table.field=value` texts on top; values are TOML, bare words are strings."""
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes table.field=value, not {text!r}")
        config = config.set(key.strip(), _parsed(value.strip()), "--set")
    return config


def dump(config: Config) -> str:
    """The whole config as commented TOML: what `load` reads back to the same values."""
    document = tomlkit.document()
    document.add(tomlkit.comment(_SEED_HELP))
    document.add("seed", tomlkit.item(config.seed))
    lines = [tomlkit.dumps(document)]
    for table, owner in config.tables().items():
        block = tomlkit.document()
        for spec in options_of(owner):
            for line in _wrapped(_comment(spec)):
                block.add(tomlkit.comment(line))
            kept = spec.default if spec.metadata.get("once") else getattr(owner, spec.name)
            block.add(spec.name, tomlkit.item(_plain(kept)))
        lines.append(f"\n[{table}]\n{tomlkit.dumps(block)}")
    return "".join(lines)


def affecting(owner: Any) -> dict[str, Any]:
    """The settings of a stage that can change its result, those of the heads that run included."""
    heads: dict[str, Any] = getattr(owner, "in_use", dict)()
    inner = {f"{table}.{k}": v for table, head in heads.items() for k, v in affecting(head).items()}
    return {**_split(owner, affects=True), **inner}


def harmless(owner: Any) -> dict[str, Any]:
    """The fields that cannot: device, workers, batch size."""
    return _split(owner, affects=False)


def _split(owner: Any, *, affects: bool) -> dict[str, Any]:
    return {
        f.name: _plain(getattr(owner, f.name))
        for f in options_of(owner)
        if f.metadata["affects_result"] is affects
    }


def _flat(document: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", item) for inner, item in _flat(value))
        else:
            yield name, value


def _is_default(key: str, value: Any) -> bool:
    """True if a former setting says what is so anyway; several may have one name now."""
    new = RENAMED[key]
    if isinstance(new, Fixed):
        return value in new.values
    return bool(value == _plain(Config().get(new)))


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _comment(spec: Field[Any]) -> str:
    choices = spec.metadata.get("choices", ())
    return f"{spec.metadata['help']}" + (f" [{' | '.join(choices)}]" if choices else "")


def _wrapped(text: str, width: int = 96) -> list[str]:
    return textwrap.wrap(text, width)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
