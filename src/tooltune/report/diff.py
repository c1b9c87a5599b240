"""Expected calls against a model's calls, argument by argument, for people to look at.

This decides no score: the verdict in `samples.jsonl` does. It only shows where to look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tooltune.toolcalls.json_text import json_equal

State = Literal["same", "wrong", "missing", "extra"]


@dataclass(frozen=True, slots=True)
class ArgumentDiff:
    """One argument: its key, both values as compact JSON (`None` on the side that lacks it)."""

    key: str
    state: State
    expected: str | None
    actual: str | None


@dataclass(frozen=True, slots=True)
class CallDiff:
    """One expected call beside the model's call that it was paired with.

    `state` is `"missing"` where the model made no such call, `"extra"` where none was expected.
    `status` is the parser's word on the model's call (`"ok"`, `"invalid_json"`, ...).
    """

    state: State
    expected_name: str | None
    actual_name: str | None
    status: str | None
    arguments: tuple[ArgumentDiff, ...]


def diff_calls(
    expected: Sequence[Mapping[str, Any]], actual: Sequence[Mapping[str, Any]]
) -> list[CallDiff]:
    """Pair calls of the forms `{name, arguments}` and `{name, arguments, status}` and compare them.

    The most alike pairs are taken first (same name, then the share of equal arguments, then the
    order of the text), so swapped parallel calls still meet. Expected calls come first, in their
    order; the model's surplus calls follow.
    """
    partner = _pair(expected, actual)
    diffs = [
        _diff_pair(call, actual[partner[i]] if i in partner else None)
        for i, call in enumerate(expected)
    ]
    taken = set(partner.values())
    diffs.extend(_diff_pair(None, call) for j, call in enumerate(actual) if j not in taken)
    return diffs


def compact_json(value: Any) -> str:
    """The value on one line, as a model would write it."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "(nested too deeply to show)"


def arguments_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments object of a call record; empty where it holds none."""
    arguments = call.get("arguments")
    return arguments if isinstance(arguments, Mapping) else {}


def _pair(
    expected: Sequence[Mapping[str, Any]], actual: Sequence[Mapping[str, Any]]
) -> dict[int, int]:
    """Indices of expected calls to indices of the model's calls, greedily by likeness."""
    ranked = sorted(
        (-_likeness(want, got), abs(i - j), i, j)
        for i, want in enumerate(expected)
        for j, got in enumerate(actual)
    )
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, i, j in ranked:
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    return partner


def _likeness(want: Mapping[str, Any], got: Mapping[str, Any]) -> float:
    """In [0, 2]: 1 for the name, up to 1 for the share of equal arguments."""
    a, b = arguments_of(want), arguments_of(got)
    keys = a.keys() | b.keys()
    equal = sum(key in a and key in b and json_equal(a[key], b[key]) for key in keys)
    share = equal / len(keys) if keys else 1.0
    return float(want.get("name") == got.get("name")) + share


def _diff_pair(want: Mapping[str, Any] | None, got: Mapping[str, Any] | None) -> CallDiff:
    a = arguments_of(want or {})
    b = arguments_of(got or {})
    keys = [*a, *(key for key in b if key not in a)]
    arguments = tuple(_diff_argument(key, a, b) for key in keys)
    expected_name = None if want is None else _name(want)
    actual_name = None if got is None else _name(got)
    status = None if got is None else str(got.get("status", "ok"))
    state: State
    if want is None:
        state = "extra"
    elif got is None:
        state = "missing"
    else:
        alike = expected_name == actual_name and all(arg.state == "same" for arg in arguments)
        state = "same" if alike and status == "ok" else "wrong"
    return CallDiff(state, expected_name, actual_name, status, arguments)


def _name(call: Mapping[str, Any]) -> str:
    name = call.get("name")
    return "(no name)" if name is None else str(name)


def _diff_argument(key: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> ArgumentDiff:
    if key not in b:
        return ArgumentDiff(key, "missing", compact_json(a[key]), None)
    if key not in a:
        return ArgumentDiff(key, "extra", None, compact_json(b[key]))
    state: State = "same" if json_equal(a[key], b[key]) else "wrong"
    return ArgumentDiff(key, state, compact_json(a[key]), compact_json(b[key]))
