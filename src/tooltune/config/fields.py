"""The scalar types of the YAML file: each says in plain words what it wants.

Types are strict (`true` is no number, `1` no truth value) with two kindnesses: numbers in quotes
are taken where a float is wanted, and `1e3` where a whole number is.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tooltune.errors import UserError
from tooltune.traces.where import parse_where


class WrongValue(ValueError):
    """A value that its field refuses; `fix` says what to write instead."""

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


def _text(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        quoted = f": '{value}'" if isinstance(value, int) else ""  # a float may have lost digits
        raise WrongValue("must be text", f"put it in quotes{quoted}")
    if not isinstance(value, str):
        raise WrongValue("must be text")
    if not value.strip():
        raise WrongValue("must not be empty")
    return value


def _flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise WrongValue("must be true or false")
    return value


def _checkpointing(value: Any) -> Any:
    if isinstance(value, bool):
        return "full" if value else "none"
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise WrongValue("must be a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValue("must be a number")
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongValue("must be a whole number")
    return value


def _paths(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if not value:
            raise WrongValue("must name at least one file")
        return tuple(_text(item) for item in value)
    if isinstance(value, dict):
        raise WrongValue("must be a file or a list of files")
    return _text(value)


def _where(value: Any) -> Any:
    if not isinstance(value, dict):
        raise WrongValue("must be a section of `column: value` lines", "where: {outcome: success}")
    try:
        parse_where(value)
    except UserError as error:
        raise WrongValue(error.message, error.fix) from None
    return value


def _modules(value: Any) -> Any:
    if isinstance(value, str):
        if value != "all-linear":
            fix = "target_modules: all-linear, or a list such as [q_proj, v_proj]"
            raise WrongValue("must be all-linear or a list of module names", fix)
        return value
    return _paths(value)


def _pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise WrongValue("must be two numbers", "betas: [0.9, 0.95]")
    return tuple(value)


def _set_name(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        fix = "a name of small letters, digits and _ such as unseen_tools: it becomes a metric key"
        raise WrongValue("is no name for a data set", fix)
    if value == "held_out":
        raise WrongValue("is the name of the main evaluation set", "another name")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Checkpointing = Annotated[Literal["none", "selective", "full"], BeforeValidator(_checkpointing)]
DataPath = Annotated[str | tuple[str, ...], BeforeValidator(_paths)]
Where = Annotated[dict[Text, Any], BeforeValidator(_where)]
Modules = Annotated[str | tuple[str, ...], BeforeValidator(_modules)]
SetName = Annotated[str, BeforeValidator(_set_name)]

Count = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
NonNegativeInt = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=0, lt=2**32), BeforeValidator(_whole)]

Positive = Annotated[float, Field(gt=0), BeforeValidator(_number)]
NonNegative = Annotated[float, Field(ge=0), BeforeValidator(_number)]
Beta = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_number)]
Betas = Annotated[tuple[Beta, Beta], BeforeValidator(_pair)]
Probability = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_number)]
Fraction = Annotated[float, Field(gt=0, lt=1), BeforeValidator(_number)]
