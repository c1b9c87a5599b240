"""One wrong thing in a config, where it stands, and all of them together as one error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tooltune.config.hints import closest
from tooltune.config.yamlfile import KeyPath
from tooltune.errors import UserError


@dataclass(frozen=True)
class Problem:
    """`path` is the key (empty: the whole config), `shown` its value as text or None."""

    path: KeyPath
    message: str
    fix: str | None = None
    shown: str | None = None


def show(value: Any) -> str:
    """A value in one short line, as YAML writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = value if isinstance(value, str) else repr(value)
    text = text.replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def from_validation(error: ValidationError) -> list[Problem]:
    """Pydantic's findings in the words of this package."""
    return [_translate(dict(detail)) for detail in error.errors(include_url=False)]


def _translate(detail: dict[str, Any]) -> Problem:
    path = tuple(str(part) for part in detail["loc"] if part != "[key]")
    context: Mapping[str, Any] = detail.get("ctx", {})
    value = detail["input"]
    if detail["type"] == "missing":
        return Problem(path, "is required", _REQUIRED.get(path))
    message, fix = _WORDING.get(detail["type"], _other)(detail, context)
    return Problem(path, message, fix, show(value))


def _value_error(_: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[str, str | None]:
    error = context["error"]
    return str(error), getattr(error, "fix", None)


def _literal(detail: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[str, str | None]:
    allowed = str(context["expected"])
    near = closest(str(detail["input"]), allowed.replace("'", "").replace(" or ", ", ").split(", "))
    return f"must be {allowed}", f"did you mean {near}?" if near else None


def _bound(sign: str, key: str) -> Any:
    return lambda _, context: (f"must be {sign} {context[key]}", None)


def _section(_: Mapping[str, Any], __: Mapping[str, Any]) -> tuple[str, str | None]:
    return "must be a section of `key: value` lines", None


def _other(detail: Mapping[str, Any], _: Mapping[str, Any]) -> tuple[str, str | None]:
    return str(detail["msg"]), None


_WORDING = {
    "value_error": _value_error,
    "literal_error": _literal,
    "greater_than": _bound("greater than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "model_type": _section,
    "dict_type": _section,
    "finite_number": lambda _, __: ("must be a finite number", None),
}

_REQUIRED: dict[KeyPath, str] = {
    ("model",): "model: Qwen/Qwen2.5-3B, a local directory, or builtin:smollm2-135m-instruct",
    ("model", "pretrained_model_name_or_path"): "model: {pretrained_model_name_or_path: NAME}",
    ("dataset",): "dataset: {path: FILE} or dataset: {dataset_name: HUB_ID}",
}


def as_error(
    problems: Iterable[Problem],
    *,
    file: str | None,
    lines: Mapping[KeyPath, int],
    overridden: Mapping[KeyPath, str],
) -> UserError:
    """All problems as one UserError, in the order of the file.

    `lines` gives the line of a key in `file`; `overridden` the command-line text of a key that
    was set there, which then is the place to mend.
    """

    def at(path: KeyPath) -> tuple[int, str] | None:
        if path in overridden:
            return 10**9, f"command line, {overridden[path]}"
        return (lines[path], f"line {lines[path]}") if path in lines else None

    def place(path: KeyPath) -> tuple[int, str]:
        above = [path[:depth] for depth in range(len(path), 0, -1)]
        below = [key for key in (*overridden, *lines) if path and key[: len(path)] == path]
        return next(filter(None, map(at, above + below)), (0, ""))

    placed = sorted(((*place(one.path), one) for one in problems), key=lambda item: item[0])
    text = "\n".join(_line(where, problem) for _, where, problem in placed)
    count = "1 problem" if len(placed) == 1 else f"{len(placed)} problems"
    return UserError(f"{file or 'config'}: {count}\n{text}")


def _line(where: str, problem: Problem) -> str:
    key = ".".join(problem.path)
    head = f"{where}: " if where else ""
    shown = "" if problem.shown is None else f": {problem.shown}"
    text = f"  {head}{key}{shown}\n      {problem.message}"
    return text if problem.fix is None else f"{text}\n      fix: {problem.fix}"
