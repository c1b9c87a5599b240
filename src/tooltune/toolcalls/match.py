"""Which predicted call answers which ground-truth call."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tooltune.errors import UserError
from tooltune.toolcalls.agree import accepts_argument
from tooltune.toolcalls.truth import GroundTruth, Truth, TruthCall
from tooltune.toolcalls.types import ParsedToolCall

Matching = Literal["optimal", "positional"]
Pair = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class Match:
    """The accepted call set that a turn is compared with, and who answers whom in it.

    `pairs` holds each of its calls (by index, in order) with a prediction's index or `None`.
    """

    calls: tuple[TruthCall, ...]
    pairs: tuple[Pair, ...]


def match_calls(
    pred_calls: Sequence[ParsedToolCall], gt_calls: Truth, matching: Matching = "optimal"
) -> list[Pair]:
    """The pairs of `best_match`: each ground-truth call with a prediction's index or `None`.

    Raises `UserError` for another `matching` and for ground truth that is no call.
    """
    return list(best_match(pred_calls, GroundTruth.of(gt_calls), matching).pairs)


def best_match(
    pred_calls: Sequence[ParsedToolCall], truth: GroundTruth, matching: Matching = "optimal"
) -> Match:
    """Pair predictions with the accepted call set that they answer best.

    Within a set, `positional` pairs equal positions, as the reference does; `optimal` is a
    maximum-weight assignment (Kuhn 1955, by `scipy.optimize.linear_sum_assignment`): most calls
    right (well-formed, name, arguments), among those most right names, among those the closest
    arguments. Of several sets the one with the highest F1 of right calls is taken (a set that is
    met wholly has 1), then the highest F1 of right names, then the closest arguments of these, then
    the first. The order of predictions never changes what `optimal` scores.

    Raises `UserError` for another `matching`.
    """
    if matching not in get_args(Matching):
        raise UserError(
            f"unknown matching {matching!r}", fix=f"use one of {', '.join(get_args(Matching))}"
        )
    pair = _pair_by_position if matching == "positional" else _pair_best
    matches = [Match(calls, tuple(pair(pred_calls, calls))) for calls in truth.accepted]
    if len(matches) == 1:
        return matches[0]
    return max(matches, key=lambda match: _outcome(pred_calls, match))  # the first of equals


def is_well_formed(call: ParsedToolCall) -> bool:
    """Whether an attempt is a call that parses, be it of a tool that does not exist."""
    return call.status in ("ok", "unknown_tool")


def _pair_by_position(
    pred_calls: Sequence[ParsedToolCall], truth: Sequence[TruthCall]
) -> list[Pair]:
    return [(i, i if i < len(pred_calls) else None) for i in range(len(truth))]


def _pair_best(pred_calls: Sequence[ParsedToolCall], truth: Sequence[TruthCall]) -> list[Pair]:
    if not truth or not pred_calls:
        return [(i, None) for i in range(len(truth))]

    from scipy.optimize import linear_sum_assignment  # half a second that parsing need not pay

    # Where several assignments weigh the same, which one is taken must not hang on the order.
    rows = _sorted_indices(_sort_key(call.name, call.arguments, call) for call in truth)
    columns = _sorted_indices(_sort_key(call.name, call.arguments, call) for call in pred_calls)
    # No number of close arguments outweighs one right name or call. Those two never compete: a
    # right call's rivals bear its name, so choosing among them costs no name elsewhere.
    base = min(len(truth), len(pred_calls)) + 1
    weights = [[_weight(pred_calls[j], truth[i], base) for j in columns] for i in rows]
    chosen = zip(*linear_sum_assignment(weights, maximize=True), strict=True)
    answers = {rows[int(row)]: columns[int(column)] for row, column in chosen}
    return [(i, answers.get(i)) for i in range(len(truth))]


def _sorted_indices(keys: Iterable[str]) -> list[int]:
    listed = list(keys)
    return sorted(range(len(listed)), key=listed.__getitem__)


def _sort_key(name: str | None, arguments: Any, call: ParsedToolCall | TruthCall) -> str:
    """Equal for calls that score the same: all that scoring reads, as text."""
    try:
        said = json.dumps([name, arguments], sort_keys=True, default=repr)
    except (ValueError, RecursionError, TypeError):  # no parser returns such arguments
        said = repr(name)
    if isinstance(call, TruthCall):
        return f"{said} {call.alternatives!r} {sorted(call.optional)}"
    return f"{said} {call.status} {call.arguments_valid_json}"


def _weight(call: ParsedToolCall, truth: TruthCall, base: int) -> float:
    """How well a prediction fits: `base` for the name, as much again if all is right, and in
    [0, 1] how close the arguments are."""
    right, same_name, closeness = _fit(call, truth)
    return base * (same_name + right) + closeness


def _fit(call: ParsedToolCall, truth: TruthCall) -> tuple[bool, bool, float]:
    same_name = call.name == truth.name
    closeness = _closeness(call, truth)
    return same_name and closeness == 1 and is_well_formed(call), same_name, closeness


def _closeness(call: ParsedToolCall, truth: TruthCall) -> float:
    """Mean of three shares: valid JSON, argument names in common, acceptable values.

    Optional arguments that are left out do not count. Exactly 1 if and only if the arguments are
    accepted.
    """
    if not call.arguments_valid_json:
        return 0.0
    shared = call.arguments.keys() & truth.known
    union = len(call.arguments.keys() | truth.required)
    if union == 0:
        return 1.0
    equal = sum(accepts_argument(truth, key, call.arguments[key]) for key in shared)
    return (1 + len(shared) / union + equal / union) / 3


def _outcome(pred_calls: Sequence[ParsedToolCall], match: Match) -> tuple[float, float, float]:
    """F1 of right calls, F1 of right names, and how close the arguments of the latter are."""
    fits = [_fit(pred_calls[j], match.calls[i]) for i, j in match.pairs if j is not None]
    total = len(pred_calls) + len(match.calls)
    if total == 0:
        return 1.0, 1.0, 1.0
    right = sum(fit[0] for fit in fits)
    same_name = sum(fit[1] for fit in fits)
    closeness = sum(fit[2] for fit in fits if fit[1])
    return 2 * right / total, 2 * same_name / total, 2 * closeness / total
