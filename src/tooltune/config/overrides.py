"""Dotted overrides of the command line: `--optimizer.lr=1e-5`, `--optimizer.lr 1e-5`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.config.yamlfile import KeyPath, parse_scalar
from tooltune.errors import UserError


@dataclass(frozen=True)
class Override:
    path: KeyPath
    value: Any
    text: str  # as it was typed


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """Read overrides in either form, values as YAML scalars or [lists] or {mappings}.

    Raises UserError for an argument that is no override or has no value.
    """
    found: list[Override] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        key, equals, value = argument.removeprefix("--").partition("=")
        text = argument
        if not argument.startswith("--") and not equals:
            raise UserError(
                f"'{argument}' is no override of the configuration",
                fix="write --section.key=value, for example --optimizer.lr=1e-5",
            )
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(
                    f"{argument} has no value",
                    fix=f"write {argument}=VALUE, for example =true; --help lists the options that "
                    "are not keys of the configuration",
                )
            value = rest.pop(0)
            text = f"{argument} {value}"
        path = tuple(key.split("."))
        if not all(path):
            raise UserError(
                f"'{argument}' names no key", fix="write --section.key=value with dots between"
            )
        found.append(Override(path=path, value=parse_scalar(value), text=text))
    return found
