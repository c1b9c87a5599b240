"""A config as text, and how two resolved configs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tooltune.config.problems import show
from tooltune.config.schema import Config
from tooltune.config.yamlfile import dump_yaml

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Change:
    """A key (dotted) whose values differ; `str` shows it as `optimizer.lr: 1e-05 -> 2e-05`.

    A value that is not there at all is None, as one that is null.
    """

    key: str
    there: Any
    here: Any
    shown: str

    def __str__(self) -> str:
        return f"{self.key}: {self.shown}"


def dump_config(config: Config) -> str:
    """The resolved config as YAML, keys in the schema's order; `load_config` gives it back."""
    return dump_yaml(config.resolved())


def config_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """One line a key in which two resolved configs differ: `optimizer.lr: 1e-05 -> 2e-05`."""
    return [str(change) for change in config_changes(a, b)]


def config_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    """The keys in which two resolved configs differ, those of sections one by one."""
    return list(_changes(a, b, ""))


def _changes(a: Any, b: Any, path: str) -> Iterator[Change]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            below = f"{path}.{key}" if path else str(key)
            yield from _changes(a.get(key, _ABSENT), b.get(key, _ABSENT), below)
    elif type(a) is not type(b) or a != b:
        there, here = (None if side is _ABSENT else side for side in (a, b))
        yield Change(path, there, here, f"{_side(a)} -> {_side(b)}")


def _side(value: Any) -> str:
    return "(absent)" if value is _ABSENT else show(value)
