"""Expected calls against a model's calls, argument by argument, for people to look at.

This decides no score: the verdict in `samples.jsonl` does. It only shows where to look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tooltune.toolcalls.agree import accepts_argument
from tooltune.toolcalls.choices import canonical
from tooltune.toolcalls.truth import TruthCall

State = Literal["same", "wrong", "missing", "extra"]


@dataclass(frozen=True, slots=True)
class ArgumentDiff:
    """One argument: its key, both values as compact JSON (`None` on the side that lacks it).

    Where several values are right, `expected` lists them all, with "or" between.
    """

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
    expected: Sequence[TruthCall | Mapping[str, Any]], actual: Sequence[Mapping[str, Any]]
) -> list[CallDiff]:
    """Pair calls of the forms `{name, arguments}` and `{name, arguments, status}` and compare them.

    The most alike pairs are taken first (same name, then the share of equal arguments, then the
    order of the text), so swapped parallel calls still meet. Expected calls come first, in their
    order; the model's surplus calls follow. A `TruthCall` brings its alternatives: an acceptable
    value is the same, and an optional argument that was left out is no difference.
    """
    targets = [call if isinstance(call, TruthCall) else plain_target(call) for call in expected]
    partner = _pair(targets, actual)
    diffs = [
        _diff_pair(target, actual[partner[i]] if i in partner else None)
        for i, target in enumerate(targets)
    ]
    taken = set(partner.values())
    diffs.extend(_diff_pair(None, call) for j, call in enumerate(actual) if j not in taken)
    return diffs


def plain_target(call: Mapping[str, Any]) -> TruthCall:
    """An expected call as it stands in a record, whatever it holds."""
    return TruthCall(_name(call), arguments_of(call))


def acceptable_text(target: TruthCall, argument: str) -> str:
    """The right values of an argument: `"C"`, or `"C" or "Celsius"`."""
    values = (compact_json(canonical(value)) for value in target.acceptable(argument))
    return " or ".join(dict.fromkeys(values))


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


def _pair(expected: Sequence[TruthCall], actual: Sequence[Mapping[str, Any]]) -> dict[int, int]:
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


def _likeness(want: TruthCall, got: Mapping[str, Any]) -> float:
    """In [0, 2]: 1 for the name, up to 1 for the share of right arguments."""
    given = arguments_of(got)
    keys = want.required | given.keys()
    right = sum(key in given and accepts_argument(want, key, given[key]) for key in keys)
    share = right / len(keys) if keys else 1.0
    return float(want.name == _name(got)) + share


def _diff_pair(want: TruthCall | None, got: Mapping[str, Any] | None) -> CallDiff:
    given = arguments_of(got or {})
    actual_name = None if got is None else _name(got)
    status = None if got is None else str(got.get("status", "ok"))
    if want is None:
        extra = tuple(ArgumentDiff(k, "extra", None, compact_json(v)) for k, v in given.items())
        return CallDiff("extra", None, actual_name, status, extra)
    known = [*want.arguments, *(key for key in want.alternatives if key not in want.arguments)]
    listed = [key for key in known if key in given or key in want.required]
    keys = [*listed, *(key for key in given if key not in want.known)]
    arguments = tuple(_diff_argument(key, want, given) for key in keys)
    state: State = "missing"
    if got is not None:
        alike = want.name == actual_name and all(arg.state == "same" for arg in arguments)
        state = "same" if alike and status == "ok" else "wrong"
    return CallDiff(state, want.name, actual_name, status, arguments)


def _name(call: Mapping[str, Any]) -> str:
    name = call.get("name")
    return "(no name)" if name is None else str(name)


def _diff_argument(key: str, want: TruthCall, given: Mapping[str, Any]) -> ArgumentDiff:
    expected = acceptable_text(want, key) if key in want.known else None
    actual = compact_json(given[key]) if key in given else None
    if actual is None:
        return ArgumentDiff(key, "missing", expected, None)
    if expected is None:
        return ArgumentDiff(key, "extra", None, actual)
    state: State = "same" if accepts_argument(want, key, given[key]) else "wrong"
    return ArgumentDiff(key, state, expected, actual)
