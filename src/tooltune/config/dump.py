"""A config as text, and how two resolved configs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tooltune.config.problems import show
from tooltune.config.schema import Config
from tooltune.config.yamlfile import dump_yaml

_ABSENT = object()


def dump_config(config: Config) -> str:
    """The resolved config as YAML, keys in the schema's order; `load_config` gives it back."""
    return dump_yaml(config.resolved())


def config_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """One line a key in which two resolved configs differ: `optimizer.lr: 1e-05 -> 2e-05`."""
    return list(_differences(a, b, ""))


def _differences(a: Any, b: Any, path: str) -> Iterator[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            below = f"{path}.{key}" if path else str(key)
            yield from _differences(a.get(key, _ABSENT), b.get(key, _ABSENT), below)
    elif type(a) is not type(b) or a != b:
        yield f"{path}: {_side(a)} -> {_side(b)}"


def _side(value: Any) -> str:
    return "(absent)" if value is _ABSENT else show(value)
