"""Which predicted call answers which ground-truth call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from tooltune.errors import UserError
from tooltune.toolcalls.json_text import InvalidJSON, json_equal, read_json
from tooltune.toolcalls.types import ParsedToolCall

Matching = Literal["optimal", "positional"]
Pair = tuple[int, int | None]


def match_calls(
    pred_calls: Sequence[ParsedToolCall],
    gt_calls: Sequence[Mapping[str, Any]],
    matching: Matching = "optimal",
) -> list[Pair]:
    """Pair each ground-truth call (by index, in order) with a prediction's index or `None`.

    `positional` pairs equal positions, as the reference does. `optimal` is a maximum-weight
    assignment (Kuhn 1955, by `scipy.optimize.linear_sum_assignment`): most calls right in name
    and arguments, among those most right names, among those the closest arguments.

    Raises `UserError` for another `matching` and for ground truth that is no call.
    """
    if matching not in get_args(Matching):
        raise UserError(
            f"unknown matching {matching!r}", fix=f"use one of {', '.join(get_args(Matching))}"
        )
    truth = [ground_truth(call) for call in gt_calls]
    if matching == "positional":
        return [(i, i if i < len(pred_calls) else None) for i in range(len(truth))]
    if not truth or not pred_calls:
        return [(i, None) for i in range(len(truth))]

    from scipy.optimize import linear_sum_assignment  # half a second that parsing need not pay

    # No number of close arguments outweighs one right name or call. Those two never compete: a
    # right call's rivals bear its name, so choosing among them costs no name elsewhere.
    base = min(len(truth), len(pred_calls)) + 1
    weights = [[_agreement(call, *gt, base) for call in pred_calls] for gt in truth]
    rows, columns = linear_sum_assignment(weights, maximize=True)
    chosen = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return [(i, chosen.get(i)) for i in range(len(truth))]


def _agreement(call: ParsedToolCall, name: str, arguments: Mapping[str, Any], base: int) -> float:
    """How well a prediction fits: `base` for the name, as much again if all is right, and in
    [0, 1] how close the arguments are."""
    same_name = call.name == name
    closeness = _closeness(call, arguments)
    return base * (same_name + (same_name and closeness == 1)) + closeness


def _closeness(call: ParsedToolCall, arguments: Mapping[str, Any]) -> float:
    """Mean of three shares: valid JSON, argument names in common, argument values in common.

    Exactly 1 if and only if the arguments are equal.
    """
    if not call.arguments_valid_json:
        return 0.0
    shared = call.arguments.keys() & arguments.keys()
    union = len(call.arguments.keys() | arguments.keys())
    if union == 0:
        return 1.0
    equal = sum(json_equal(call.arguments[key], arguments[key]) for key in shared)
    return (1 + len(shared) / union + equal / union) / 3


def ground_truth(call: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Name and arguments object of a ground-truth call `{"name": …, "arguments": …}`.

    Arguments may be a JSON string. Raises `UserError` where they are broken or no object: the
    reference scores such a call as if it had no arguments, which blames the model for the data.
    """
    name = call.get("name")
    if not isinstance(name, str) or not name:
        raise UserError(
            f"a ground-truth call has no name: {_excerpt(call)}",
            fix="correct the row, or remove it from the evaluation data",
        )
    arguments = call.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = read_json(arguments)
        except InvalidJSON as error:
            raise _broken_arguments(name, arguments, str(error)) from None
    if not isinstance(arguments, Mapping):
        raise _broken_arguments(name, arguments, "not a JSON object")
    return name, arguments


def _broken_arguments(name: str, arguments: object, why: str) -> UserError:
    return UserError(
        f"the ground-truth call of {name!r} has arguments that no answer could equal "
        f"({why}): {_excerpt(arguments)}",
        fix="make them a JSON object, or remove the row from the evaluation data",
    )


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
