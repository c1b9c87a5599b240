"""Scores of one turn: the six of the reference, and the strict verdict that is the headline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.match import Matching, ground_truth, match_calls
from tooltune.toolcalls.schema import validate_calls
from tooltune.toolcalls.tools import Tools, tool_schemas
from tooltune.toolcalls.types import ParsedToolCall

SAMPLE_METRICS = (
    "has_call",
    "name_correct",
    "args_json_valid",
    "args_field_recall",
    "args_field_precision",
    "args_exact_match",
)

REASONS = (
    "no_call",
    "malformed",
    "unknown_tool",
    "missing_call",
    "wrong_tool",
    "missing_argument",
    "wrong_value",
    "hallucinated_argument",
    "extra_call",
)
"""Why a turn is wrong, in the order in which reasons are listed."""

Outcome = Literal["call", "abstained", "malformed"]


@dataclass(frozen=True, slots=True)
class TurnScore:
    """The verdict on one generated turn.

    `correct`: every ground-truth call made, by name and arguments, and nothing else attempted;
    for a turn that should not call, nothing attempted. `outcome`: `call` if at least one attempt
    is a well-formed call (of whatever tool), `malformed` if there are attempts but none is,
    `abstained` if there are none. `reasons` are some of `REASONS`, empty if correct.
    `scores` are all in [0, 1].
    """

    correct: bool
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


def compute_sample_metrics(
    pred_calls: Sequence[ParsedToolCall],
    gt_calls: Sequence[Mapping[str, Any]],
    matching: Matching = "positional",
) -> dict[str, float]:
    """The six metrics of the reference (NeMo AutoModel's `tool_call_evaluator`), each in [0, 1].

    Each is a mean over the ground-truth calls `{"name": …, "arguments": object or JSON string}`;
    one without a prediction contributes zeros, predictions beyond are ignored, and without ground
    truth all are zero. By default calls are paired by position, as the reference does; with
    `matching="optimal"` each with the prediction that fits best.

    `has_call`: there is a prediction, valid or not. `name_correct`: its name is equal.
    `args_json_valid`: its arguments parsed. `args_field_recall` and `args_field_precision`: share
    of the true (the predicted) argument names that the other has too; where there are none, 1 if
    the other has none either. `args_exact_match`: arguments parsed and equal, whatever the name.

    Differences from the reference: `True` does not equal 1, and broken ground truth raises
    `UserError` instead of counting as no arguments.
    """
    truth = [ground_truth(call) for call in gt_calls]
    pairs = match_calls(pred_calls, gt_calls, matching)
    rows = [_call_metrics(None if j is None else pred_calls[j], *truth[i]) for i, j in pairs] or [
        dict.fromkeys(SAMPLE_METRICS, 0.0)
    ]
    return {key: fmean(row[key] for row in rows) for key in SAMPLE_METRICS}


def _call_metrics(
    call: ParsedToolCall | None, name: str, arguments: Mapping[str, Any]
) -> dict[str, float]:
    if call is None:
        return dict.fromkeys(SAMPLE_METRICS, 0.0)
    valid = call.arguments_valid_json
    predicted = call.arguments.keys() if valid else set()
    common = len(predicted & arguments.keys())
    return {
        "has_call": 1.0,
        "name_correct": float(call.name == name),
        "args_json_valid": float(valid),
        "args_field_recall": common / len(arguments) if arguments else float(not predicted),
        "args_field_precision": common / len(predicted) if predicted else float(not arguments),
        "args_exact_match": float(valid and json_equal(call.arguments, arguments)),
    }


def check_ground_truth(gt_calls: Sequence[Mapping[str, Any]], tools: Tools | None) -> None:
    """Make sure that a turn can be judged at all: a fault of the data is no fault of the model.

    Raises `UserError` for a ground-truth call without a name or with arguments that are no object,
    and for a tool without a name. `None` for `tools` means that they are unknown.
    """
    for call in gt_calls:
        ground_truth(call)
    if tools is not None:
        tool_schemas(tools)


def score_turn(
    calls: Sequence[ParsedToolCall],
    gt_calls: Sequence[Mapping[str, Any]],
    tools: Tools | None = None,
    matching: Matching = "optimal",
) -> TurnScore:
    """Judge the attempts of one generated turn against its ground truth.

    `scores` of a turn that calls: the six of `compute_sample_metrics`, `call_precision`,
    `call_recall` and `call_f1` (a call is right if its name, arguments and status are), and
    `malformed`; of one that should not: `abstained` and `malformed`. `malformed` is 1 if any
    attempt is not a well-formed call. With `tools`, `schema_valid` is 1 if the well-formed calls,
    of which there must be some, all name a tool there and satisfy its JSON schema; it is absent
    where that schema is itself invalid.

    Raises `UserError` for faults of the data (see `check_ground_truth`, which finds them before
    anything is generated); no model output raises.
    """
    well_formed = [call for call in calls if is_well_formed(call)]
    scores: dict[str, float] = {"malformed": float(len(well_formed) < len(calls))}
    if tools is not None and well_formed:
        valid = validate_calls(well_formed, tools)
        if valid is not None:
            scores["schema_valid"] = float(valid)
    outcome: Outcome = "call" if well_formed else "malformed" if calls else "abstained"
    if not gt_calls:
        scores["abstained"] = float(not calls)
        return TurnScore(not calls, outcome, _ordered(map(_extra_reason, calls)), scores)

    truth = [ground_truth(call) for call in gt_calls]
    pairs = match_calls(calls, gt_calls, matching)
    reasons = [
        reason
        for i, j in pairs
        for reason in _pair_reasons(None if j is None else calls[j], *truth[i], bool(calls))
    ]
    right = sum(j is not None and not _pair_reasons(calls[j], *truth[i], True) for i, j in pairs)
    taken = {j for _, j in pairs}
    reasons += [_extra_reason(call) for j, call in enumerate(calls) if j not in taken]
    precision = right / len(calls) if calls else 0.0
    recall = right / len(truth)
    scores |= compute_sample_metrics(calls, gt_calls, matching)
    scores |= {
        "call_precision": precision,
        "call_recall": recall,
        "call_f1": 2 * right / (len(calls) + len(truth)),
    }
    return TurnScore(not reasons, outcome, _ordered(reasons), scores)


def is_well_formed(call: ParsedToolCall) -> bool:
    """Whether an attempt is a call that parses, be it of a tool that does not exist."""
    return call.status in ("ok", "unknown_tool")


def _extra_reason(call: ParsedToolCall) -> str:
    return "extra_call" if is_well_formed(call) else "malformed"


def _pair_reasons(
    call: ParsedToolCall | None, name: str, arguments: Mapping[str, Any], any_calls: bool
) -> list[str]:
    """What is wrong with the prediction for one ground-truth call; nothing if it is right."""
    if call is None:
        return ["missing_call" if any_calls else "no_call"]
    reasons = [] if is_well_formed(call) else ["malformed"]
    if call.status == "unknown_tool":
        reasons.append("unknown_tool")
    if call.name != name:
        return [*reasons, "wrong_tool"] if is_well_formed(call) else reasons
    if not call.arguments_valid_json:
        return reasons
    if arguments.keys() - call.arguments.keys():
        reasons.append("missing_argument")
    if call.arguments.keys() - arguments.keys():
        reasons.append("hallucinated_argument")
    shared = arguments.keys() & call.arguments.keys()
    if not all(json_equal(arguments[key], call.arguments[key]) for key in shared):
        reasons.append("wrong_value")
    return reasons


def _ordered(reasons: Iterable[str]) -> tuple[str, ...]:
    found = set(reasons)
    return tuple(reason for reason in REASONS if reason in found)
