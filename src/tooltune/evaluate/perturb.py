"""Right answers spoilt in one respect each, and what every metric must then say.

The expected values are worked out here from what the metrics mean, not by the scorer: with `k`
true calls of which one is spoilt, a mean over the true calls becomes `(k - 1 + what that call still
earns) / k`, and of `m` calls made, `r` of them right, precision is `r / m`, recall `r / k` and F1
`2 r / (m + k)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.types import ParsedToolCall

_FRESH = "zq7"
"""Begins names and values that no data has."""

_NORMALISED = "args_normalised_match"


@dataclass(frozen=True, slots=True)
class Spoilt:
    """An answer, whether it is right, and the scores that must differ from the right answer's.

    Scores that are neither in `scores` nor in `free` must be those of the right answer. `free`
    are those of which the data decide what they should be.
    """

    change: str
    calls: tuple[ParsedToolCall, ...]
    correct: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)
    free: frozenset[str] = frozenset()


def spoil_calls(
    gold: Sequence[ParsedToolCall], *, tools_known: bool, ordered: bool = False
) -> Iterator[Spoilt]:
    """Each way to change one thing in the calls of a right answer (one call or more).

    `tools_known`: whether calls are checked against tools, which then must not have the new names.
    `ordered`: whether the order of calls counts; the changes that shift calls are then left out.
    """
    k, first = len(gold), gold[0]
    rest = tuple(gold[1:])
    arguments = first.arguments
    one_wrong = _of_calls(k, made=k, right=k - 1)

    def spoilt(change: str, call: ParsedToolCall, *free: str, **earned: float) -> Spoilt:
        """The first call changed; `earned` is what it still earns of each mean over calls."""
        means = {name: (k - 1 + value) / k for name, value in earned.items()}
        return Spoilt(change, (call, *rest), scores={**one_wrong, **means}, free=frozenset(free))

    unknown = replace(
        first,
        name=_unused(call.name or "" for call in gold),
        status="unknown_tool" if tools_known else "ok",
    )
    renamed = spoilt("another name", unknown, name_correct=0.0)
    yield (
        replace(renamed, scores={**renamed.scores, "schema_valid": 0.0}) if tools_known else renamed
    )
    for name, value in list(arguments.items())[:1]:
        others = {key: item for key, item in arguments.items() if key != name}
        yield spoilt(
            "an argument dropped",
            replace(first, arguments=others),
            "schema_valid",
            _NORMALISED,  # it may be the default
            args_field_recall=len(others) / len(arguments),
            args_field_precision=float(bool(others)),
            args_exact_match=0.0,
        )
        yield spoilt(
            "a value changed",
            replace(first, arguments={**arguments, name: another_value(value)}),
            "schema_valid",
            args_exact_match=0.0,
            **{_NORMALISED: 0.0},
        )
    if (retyped := _retyped(arguments)) is not None:
        yield spoilt(
            "true for 1, or 1 for true",
            replace(first, arguments=retyped),
            "schema_valid",
            args_exact_match=0.0,
            **{_NORMALISED: 0.0},
        )
    if (swapped := _swapped(arguments)) is not None:
        yield spoilt(
            "two values swapped",
            replace(first, arguments=swapped),
            "schema_valid",
            _NORMALISED,  # they may mean the same, as "5" and 5 do
            args_exact_match=0.0,
        )
    yield spoilt(
        "an argument too many",
        replace(first, arguments={**arguments, _unused(arguments): 1}),
        "schema_valid",
        args_field_precision=len(arguments) / (len(arguments) + 1),
        args_field_recall=float(bool(arguments)),
        args_exact_match=0.0,
        **{_NORMALISED: 0.0},
    )
    broken = replace(
        first, arguments={}, arguments_valid_json=False, status="invalid_json", raw=_FRESH
    )
    damaged = spoilt(
        "broken JSON",
        broken,
        "schema_valid",
        args_json_valid=0.0,
        args_field_recall=float(not arguments),
        args_field_precision=float(not arguments),
        args_exact_match=0.0,
        **{_NORMALISED: 0.0},
    )
    yield replace(damaged, scores={**damaged.scores, "malformed": 1.0})
    yield Spoilt("a call too many", (*gold, first), scores=_of_calls(k, made=k + 1, right=k))
    if k > 1 and not ordered:
        yield Spoilt("the calls in another order", tuple(reversed(gold)), correct=True)
        per_call = (
            "has_call",
            "name_correct",
            "args_json_valid",
            "args_field_recall",
            "args_field_precision",
            "args_exact_match",
            _NORMALISED,
        )
        yield Spoilt(
            "a call dropped",
            rest,
            scores=dict.fromkeys(per_call, (k - 1) / k) | _of_calls(k, made=k - 1, right=k - 1),
        )


def spoil_silence(*, tools_known: bool) -> Iterator[Spoilt]:
    """Answers that call something where nothing should be called."""
    call = ParsedToolCall(_FRESH, {}, status="unknown_tool" if tools_known else "ok")
    yield Spoilt("a call", (call,), scores={"abstained": 0.0}, free=frozenset({"schema_valid"}))
    broken = ParsedToolCall(None, {}, False, _FRESH, "malformed")
    yield Spoilt("a broken call", (broken,), scores={"abstained": 0.0, "malformed": 1.0})


def spoil_any_call(right: ParsedToolCall, *, tools_known: bool) -> Iterator[Spoilt]:
    """Wrong answers where some known tool should be called, however."""
    free = frozenset({"schema_valid"})
    broken = replace(right, arguments={}, arguments_valid_json=False, status="invalid_json")
    yield Spoilt("a broken call", (broken,), scores={"malformed": 1.0}, free=free)
    if tools_known:
        unknown = replace(right, name=_unused((right.name,)), status="unknown_tool")
        yield Spoilt("another name", (unknown,), free=free)
    yield Spoilt("two calls", (right, right), correct=True, free=free)


def another_value(value: Any) -> Any:
    """A JSON value of the same type that is not equal to `value`, under any folding of texts."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value + 1 if value != -1 else -2
    if isinstance(value, float):
        return value / 2 + 1 if value != 2 else 3.0  # beyond any tolerance, and never infinite
    if isinstance(value, str):
        return value + _FRESH
    if isinstance(value, Mapping):
        return {**value, _unused(value): 1}
    if isinstance(value, (list, tuple)):
        return [*value, _FRESH]
    return _FRESH


def _of_calls(true: int, *, made: int, right: int) -> dict[str, float]:
    return {
        "call_precision": right / made,
        "call_recall": right / true,
        "call_f1": 2 * right / (made + true),
    }


def _retyped(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """With the first truth value as a number, or 0 or 1 as a truth value; `None` without any."""
    for name, value in arguments.items():
        if isinstance(value, bool):
            return {**arguments, name: int(value)}
        if isinstance(value, int) and value in (0, 1):
            return {**arguments, name: bool(value)}
    return None


def _swapped(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """With the first value and the next unequal one exchanged; `None` where all are equal."""
    items = list(arguments.items())
    for name, value in items[1:]:
        first_name, first_value = items[0]
        if not json_equal(value, first_value):
            return {**arguments, first_name: value, name: first_value}
    return None


def _unused(names: Any) -> str:
    taken = set(names)
    fresh = _FRESH
    while fresh in taken:
        fresh += "_"
    return fresh
