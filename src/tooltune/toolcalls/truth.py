"""What counts as right for one turn: call sets, with alternatives where several values would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tooltune.toolcalls.choices import OneOf, broken_truth, canonical, decode, encode, holds_choice
from tooltune.toolcalls.json_text import MAX_DEPTH, InvalidJSON, read_json


@dataclass(frozen=True, slots=True)
class TruthCall:
    """One call that should be made.

    `arguments` is the canonical answer. `alternatives` holds further acceptable values by
    argument; one that `arguments` lacks may be given with one of those, and need not be.
    `optional` are the arguments that may be left out.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    alternatives: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    @property
    def required(self) -> frozenset[str]:
        """The arguments that must be given."""
        return frozenset(self.arguments) - self.optional

    @property
    def known(self) -> frozenset[str]:
        """The arguments that may be given."""
        return frozenset(self.arguments) | frozenset(self.alternatives)

    def acceptable(self, argument: str) -> tuple[Any, ...]:
        """The values that are right for an argument, none for one that must not be given."""
        first = (self.arguments[argument],) if argument in self.arguments else ()
        return (*first, *self.alternatives.get(argument, ()))


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The acceptable call sets of one turn, the canonical one first.

    An empty set means that nothing should be called; a turn whose canonical set is empty counts
    as one that should not call. Make it with `of`, which checks it. `any_call` says instead that
    some tool should be called, and nobody knows how (`ANY_CALL`); `accepted` says nothing then.
    """

    accepted: tuple[tuple[TruthCall, ...], ...]
    any_call: bool = False

    @property
    def calls(self) -> tuple[TruthCall, ...]:
        """The canonical call set."""
        return self.accepted[0]

    @property
    def should_call(self) -> bool:
        """Whether the turn counts as one that should call."""
        return self.any_call or bool(self.calls)

    @property
    def is_plain(self) -> bool:
        """Whether `to_calls` says all: one call set, without any alternative."""
        return (
            not self.any_call
            and len(self.accepted) == 1
            and not any(
                call.alternatives or call.optional or holds_choice(call.arguments)
                for call in self.calls
            )
        )

    def to_calls(self) -> list[dict[str, Any]]:
        """The canonical answer as plain calls `{"name", "arguments"}`: what a model could say."""
        return [{"name": call.name, "arguments": canonical(call.arguments)} for call in self.calls]

    def to_dict(self) -> dict[str, Any]:
        """JSON form: `{"accepted": [[{"name", "arguments", "alternatives"?, "optional"?}]]}`.

        `ANY_CALL` is `{"any_call": true}`.

        Values are written as `choices.encode` says.
        """
        if self.any_call:
            return {"any_call": True}
        return {"accepted": [[_call_to_dict(call) for call in calls] for calls in self.accepted]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GroundTruth:
        """The inverse of `to_dict`. Raises `UserError` for anything that it would not write."""
        if data == {"any_call": True}:
            return ANY_CALL
        sets = data.get("accepted")
        if not isinstance(sets, list) or not all(isinstance(calls, list) for calls in sets):
            raise broken_truth(data, "`accepted` is no list of lists of calls")
        return cls._checked([[_read_call(call, nodes=True) for call in calls] for calls in sets])

    @classmethod
    def of(cls, truth: Truth) -> GroundTruth:
        """From whichever form: itself, the JSON form of `to_dict`, or a plain list of calls.

        Items of the plain list are `{"name": …, "arguments": object or JSON string}`, where they
        like with `"alternatives": {argument: [values]}` and `"optional": [arguments]`; all values
        in there are data.

        Raises `UserError` for what no answer could equal: a call without a name, arguments that
        are no JSON object, nested deeper than a parser reads, or not finite.
        """
        if isinstance(truth, GroundTruth):
            return truth
        if isinstance(truth, Mapping):
            return cls.from_dict(truth)
        return cls._checked([[_read_call(call, nodes=False) for call in truth]])

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> GroundTruth:
        """From a sample: its `ground_truth` (JSON form) if there is one, else `gt_tool_calls`."""
        full = record.get("ground_truth")
        return cls.of(record["gt_tool_calls"] if full is None else full)

    @classmethod
    def _checked(cls, sets: Sequence[Sequence[TruthCall]]) -> GroundTruth:
        if not sets:
            raise broken_truth(sets, "no call set is acceptable")
        for calls in sets:
            for call in calls:
                _check_call(call)
        return cls(tuple(tuple(calls) for calls in sets))


NO_CALL = GroundTruth(((),))
"""Nothing should be called."""

ANY_CALL = GroundTruth(((),), any_call=True)
"""Something should be called, whatever it is."""

Truth: TypeAlias = GroundTruth | Mapping[str, Any] | Sequence[Mapping[str, Any] | TruthCall]
"""Ground truth in any of the forms that `GroundTruth.of` reads."""


# ------------------------------------------------------------------------------ reading, checking


def _read_call(call: Any, *, nodes: bool) -> TruthCall:
    """A call of either JSON form; `nodes` says that `$one_of` nodes in there are nodes."""
    if isinstance(call, TruthCall):
        return call
    if not isinstance(call, Mapping):
        raise broken_truth(call, "not an object")
    name = call.get("name")
    if not isinstance(name, str) or not name:
        raise broken_truth(call, "it has no name")
    arguments = call.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = read_json(arguments)
        except InvalidJSON as error:
            raise broken_truth(call, f"its arguments are broken: {error}") from None
    if not isinstance(arguments, Mapping):
        raise broken_truth(call, "its arguments are not a JSON object")
    others = call.get("alternatives") or {}
    if not isinstance(others, Mapping) or not all(
        isinstance(values, (list, tuple)) and values for values in others.values()
    ):
        raise broken_truth(call, "`alternatives` is no object of non-empty lists, one per argument")
    optional = call.get("optional") or ()
    if isinstance(optional, (str, Mapping)) or not all(isinstance(key, str) for key in optional):
        raise broken_truth(call, "`optional` is no list of argument names")
    if nodes:
        arguments = {key: decode(value) for key, value in arguments.items()}
        others = {key: [decode(item) for item in values] for key, values in others.items()}
    alternatives = {key: tuple(values) for key, values in others.items()}
    return TruthCall(name, arguments, alternatives, frozenset(optional))


def _check_call(call: TruthCall) -> None:
    if not isinstance(call.name, str) or not call.name:
        raise broken_truth(call, "it has no name")
    if unknown := sorted(call.optional - call.known):
        raise broken_truth(call, f"`optional` names {unknown[0]!r}, which is no argument of it")
    pending: list[tuple[Any, int]] = [(call.arguments, 1)]
    pending += [(value, 2) for values in call.alternatives.values() for value in values]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise broken_truth(call, f"its arguments nest deeper than {MAX_DEPTH} levels")
        if isinstance(value, OneOf):
            if not value.values:
                raise broken_truth(call, "a choice in its arguments holds no value")
            pending.extend((item, depth + 1) for item in value.values)
        elif isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                raise broken_truth(call, "a key in its arguments is no text")
            pending.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, (list, tuple)):
            pending.extend((item, depth + 1) for item in value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise broken_truth(call, f"its arguments hold {value}, which is not JSON")
        elif not (value is None or isinstance(value, (str, int, float))):
            raise broken_truth(call, f"its arguments hold a {type(value).__name__}")


# ------------------------------------------------------------------------------------- JSON form


def _call_to_dict(call: TruthCall) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": call.name,
        "arguments": {key: encode(value) for key, value in call.arguments.items()},
    }
    if call.alternatives:
        data["alternatives"] = {
            key: [encode(value) for value in values] for key, values in call.alternatives.items()
        }
    if call.optional:
        data["optional"] = sorted(call.optional)
    return data
