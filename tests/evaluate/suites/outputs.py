"""Right and wrong answers to a question, made from its accepted ones by one change each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tooltune.toolcalls.truth import GroundTruth, canonical

Calls = list[tuple[str, dict[str, Any]]]


def outputs(truth: GroundTruth) -> Iterator[tuple[str, Calls]]:
    """(what was changed, calls); the first is gold."""
    gold: Calls = [(call["name"], call["arguments"]) for call in truth.to_calls()]
    yield "gold", gold
    yield "empty", []
    yield "reversed", gold[::-1]
    yield "rotated", [*gold[1:], *gold[:1]]
    yield "call_dropped", gold[:-1]
    yield "call_twice", [*gold, gold[0]]
    for i, call in enumerate(truth.calls):
        name, arguments = gold[i]
        yield "renamed", [*gold[:i], (f"{name}_x", arguments), *gold[i + 1 :]]
        for change, changed in _argument_changes(arguments):
            yield change, [*gold[:i], (name, changed), *gold[i + 1 :]]
        for argument, values in call.alternatives.items():
            for value in values:
                changed = {**arguments, argument: canonical(value)}
                yield "alternative", [*gold[:i], (name, changed), *gold[i + 1 :]]


def _argument_changes(arguments: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "argument_added", {**arguments, "zz_extra": 1}
    for key, value in arguments.items():
        yield "argument_dropped", {k: v for k, v in arguments.items() if k != key}
        yield "value_changed", {**arguments, key: _other(value)}
        yield "type_changed", {**arguments, key: 1 if isinstance(value, str) else str(value)}
        if isinstance(value, str):
            yield "case_changed", {**arguments, key: value.swapcase()}
            yield "space_added", {**arguments, key: f" {value} "}
        elif isinstance(value, int) and not isinstance(value, bool):
            yield "integer_as_float", {**arguments, key: float(value)}
        elif isinstance(value, float) and value.is_integer():
            yield "float_as_integer", {**arguments, key: int(value)}


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value}zz"
    if isinstance(value, list):
        return [*value, "zz"]
    return {**value, "zz": 1} if isinstance(value, dict) else 1
