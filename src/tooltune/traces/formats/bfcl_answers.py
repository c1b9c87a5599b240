"""BFCL's accepted answers to calls: the first accepted value of every parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.traces.formats.shared.python_calls import ToolNames, parse_calls
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Tool, ToolCall

_LEFT_OUT = ""
"""Among the accepted values: the parameter may be left out."""


def read_ground_truth(value: Any, tools: Sequence[Tool]) -> tuple[ToolCall, ...]:
    """Calls from `[{function: {parameter: [accepted, ...]}}]`, or from call texts.

    Raises `RowError` (`nothing_to_call`, `invalid_ground_truth`, or as `parse_calls`).
    """
    if not isinstance(value, (list, tuple)):
        raise _invalid("ground_truth", value, "a list of calls")
    if not value:
        reason = "ground_truth is empty: nothing is to be called, and the row has no text to learn"
        raise RowError("nothing_to_call", f"{reason}; leave the row out")
    calls: list[ToolCall] = []
    names = ToolNames.of(tool.name for tool in tools)
    required = {tool.name: _required(tool) for tool in tools}
    for i, answer in enumerate(value):
        where = f"ground_truth[{i}]"
        if isinstance(answer, str):
            calls += parse_calls(f"[{answer}]", where, names)
        elif isinstance(answer, Mapping) and len(answer) == 1:
            ((name, parameters),) = answer.items()
            calls.append(_read_answer(name, parameters, required.get(name, ()), where))
        else:
            raise _invalid(where, answer, "an object with one function name")
    return tuple(calls)


def _required(tool: Tool) -> tuple[str, ...]:
    names = tool.parameters.get("required")
    return tuple(names) if isinstance(names, (list, tuple)) else ()


def _read_answer(name: str, parameters: Any, required: Sequence[str], where: str) -> ToolCall:
    where = f"{where}.{show(name, 40)}"
    if not name or not isinstance(parameters, Mapping):
        raise _invalid(where, parameters, "an object of lists of accepted values")
    arguments = {}
    for key, accepted in parameters.items():
        path = f"{where}.{show(key, 40)}"
        values = _accepted(accepted, path)
        if key in required:  # cannot be left out: here "" is a value, the last choice
            values = [v for v in values if v != _LEFT_OUT] or values
        elif values[0] == _LEFT_OUT:
            continue
        arguments[key] = _first(values[0], path)
    return ToolCall(name, arguments)


def _accepted(value: Any, where: str) -> list[Any]:
    if not isinstance(value, (list, tuple)) or not value:
        raise _invalid(where, value, "a list of accepted values")
    return list(value)


def _first(value: Any, where: str) -> Any:
    """An accepted value. Objects, alone or in a list, hold accepted values for their own keys.

    One level deep, as BFCL's `dict_checker` reads them; an object without any list is a literal.
    """
    if isinstance(value, (list, tuple)):
        return [_member(member, f"{where}[{i}]") for i, member in enumerate(value)]
    return _member(value, where)


def _member(value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    if not any(isinstance(member, (list, tuple)) for member in value.values()):
        return value
    chosen = {key: _accepted(v, f"{where}.{show(key, 40)}")[0] for key, v in value.items()}
    return {key: v for key, v in chosen.items() if v != _LEFT_OUT}


def _invalid(where: str, value: Any, expected: str) -> RowError:
    return RowError("invalid_ground_truth", f"{where} is {show(value, 30)}; write {expected}")
