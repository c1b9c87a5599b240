"""Scores of one turn: the six of the reference, and the strict verdict that is the headline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from tooltune.errors import UserError
from tooltune.toolcalls.agree import accepts_argument, accepts_arguments
from tooltune.toolcalls.match import Matching, best_match, is_well_formed
from tooltune.toolcalls.meaning import meant_turn, share_meant
from tooltune.toolcalls.schema import schema_violations
from tooltune.toolcalls.tools import Tools, tool_schemas
from tooltune.toolcalls.truth import GroundTruth, Truth, TruthCall
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

Outcome = Literal["call", "abstained", "malformed", "skipped"]


@dataclass(frozen=True, slots=True)
class TurnScore:
    """The verdict on one generated turn.

    `correct`: every call of an accepted set made, by name and arguments, and nothing else
    attempted; for a turn that should not call, nothing attempted. `outcome`: `call` if at least
    one attempt is a well-formed call (of whatever tool), `malformed` if there are attempts but
    none is, `abstained` if there are none, `skipped` if nothing was generated. `reasons` are some
    of `REASONS` (or why a turn was skipped), empty if correct. `scores` are all in [0, 1].
    `correct_normalised` is `correct` with arguments compared by what they mean (`normalise.py`);
    `reasons` do not speak about it. `schema_errors` counts what in the well-formed calls is
    against the tools' schemas, by kind (`schema.py`).
    """

    correct: bool
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    correct_normalised: bool = False
    schema_errors: Mapping[str, int] = field(default_factory=dict)


def skipped_turn(reason: str) -> TurnScore:
    """The verdict on a turn for which nothing was generated: wrong, without any score."""
    return TurnScore(correct=False, outcome="skipped", reasons=(reason,))


class GraderError(RuntimeError):
    """Scoring itself failed: no fault of the model, and never a score."""


def compute_sample_metrics(
    pred_calls: Sequence[ParsedToolCall],
    gt_calls: Truth,
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

    Where the ground truth has alternatives, the call set that is answered best counts, any
    acceptable value is equal, and optional arguments cost no recall when left out.

    Differences from the reference: `True` does not equal 1, and broken ground truth raises
    `UserError` instead of counting as no arguments.
    """
    match = best_match(pred_calls, GroundTruth.of(gt_calls), matching)
    rows = [
        _call_metrics(None if j is None else pred_calls[j], match.calls[i]) for i, j in match.pairs
    ] or [dict.fromkeys(SAMPLE_METRICS, 0.0)]
    return {key: fmean(row[key] for row in rows) for key in SAMPLE_METRICS}


def _call_metrics(call: ParsedToolCall | None, truth: TruthCall) -> dict[str, float]:
    if call is None:
        return dict.fromkeys(SAMPLE_METRICS, 0.0)
    valid = call.arguments_valid_json
    predicted = call.arguments.keys() if valid else set()
    required, known = truth.required, truth.known
    return {
        "has_call": 1.0,
        "name_correct": float(call.name == truth.name),
        "args_json_valid": float(valid),
        "args_field_recall": (
            len(predicted & required) / len(required) if required else float(predicted <= known)
        ),
        "args_field_precision": (
            len(predicted & known) / len(predicted) if predicted else float(not required)
        ),
        "args_exact_match": float(valid and accepts_arguments(truth, call.arguments)),
    }


def check_ground_truth(gt_calls: Truth, tools: Tools | None) -> None:
    """Make sure that a turn can be judged at all: a fault of the data is no fault of the model.

    Raises `UserError` for ground truth that no answer could equal (see `GroundTruth.of`) and for
    a tool without a name. `None` for `tools` means that they are unknown.
    """
    GroundTruth.of(gt_calls)
    if tools is not None:
        tool_schemas(tools)


def score_sample(
    sample_id: str,
    calls: Sequence[ParsedToolCall],
    gt_calls: Truth,
    tools: Tools | None = None,
    matching: Matching = "optimal",
) -> TurnScore:
    """`score_turn` for a sample that has an id: whatever goes wrong says which it was.

    Raises `UserError` for faults of the data and `GraderError` for any other exception.
    """
    try:
        return score_turn(calls, gt_calls, tools, matching)
    except UserError as error:
        raise UserError(f"sample {sample_id}: {error.message}", fix=error.fix) from None
    except Exception as error:
        raise GraderError(
            f"scoring sample {sample_id} failed ({type(error).__name__}: {error}); "
            "it has no score, and the evaluation no metrics without it"
        ) from error


def score_turn(
    calls: Sequence[ParsedToolCall],
    gt_calls: Truth,
    tools: Tools | None = None,
    matching: Matching = "optimal",
) -> TurnScore:
    """Judge the attempts of one generated turn against its ground truth.

    `scores` of a turn that calls: the six of `compute_sample_metrics`, `args_normalised_match`
    (as `args_exact_match`, by what the arguments mean), `call_precision`, `call_recall` and
    `call_f1` (a call is right if its name, arguments and status are), and `malformed`; of one
    that should not: `abstained` and `malformed`. `malformed` is 1 if any attempt is not a
    well-formed call. With `tools`, `schema_valid` is 1 if the well-formed calls, of which there
    must be some, all name a tool there and satisfy its JSON schema; it is absent where that
    schema is itself invalid. Where any call is right (`ANY_CALL`), a turn is correct that calls
    known tools and attempts nothing else, and of the call scores there is only `has_call`.

    Raises `UserError` for faults of the data (see `check_ground_truth`, which finds them before
    anything is generated); no model output raises.
    """
    truth = GroundTruth.of(gt_calls)
    schemas = {} if tools is None else tool_schemas(tools)
    well_formed = [call for call in calls if is_well_formed(call)]
    outcome: Outcome = "call" if well_formed else "malformed" if calls else "abstained"
    scores: dict[str, float] = {"malformed": float(len(well_formed) < len(calls))}
    schema_errors: dict[str, int] = {}
    if tools is not None and well_formed:
        violations = schema_violations(well_formed, tools)
        if violations is not None:
            scores["schema_valid"] = float(not violations)
            schema_errors = violations
    if truth.any_call:
        missing = ["no_call"] if not calls else []
        reasons = [*missing, *(fault for call in calls for fault in _own_faults(call))]
        scores["has_call"] = float(bool(calls))
        called = not reasons
        return TurnScore(called, outcome, _ordered(reasons), scores, called, schema_errors)

    match = best_match(calls, truth, matching)
    paired = [(None if j is None else calls[j], match.calls[i]) for i, j in match.pairs]
    faults = [_pair_reasons(call, target, bool(calls)) for call, target in paired]
    taken = {j for _, j in match.pairs}
    reasons = [reason for fault in faults for reason in fault]
    reasons += [_extra_reason(call) for j, call in enumerate(calls) if j not in taken]
    correct = not reasons
    meant = correct or meant_turn(calls, truth, schemas, matching)
    if truth.calls:
        right = sum(not fault for fault in faults)
        scores |= compute_sample_metrics(calls, truth, matching)
        scores["args_normalised_match"] = 1.0 if meant else share_meant(paired, schemas)
        scores |= _precision_recall(right, len(calls), len(match.calls))
    else:
        scores["abstained"] = float(not calls)
    return TurnScore(correct, outcome, _ordered(reasons), scores, meant, schema_errors)


def _precision_recall(right: int, predicted: int, true: int) -> dict[str, float]:
    """Precision, recall and F1 of whole calls; nothing where nothing is wanted is all right."""
    nothing = float(predicted == true == 0)
    return {
        "call_precision": right / predicted if predicted else nothing,
        "call_recall": right / true if true else nothing,
        "call_f1": 2 * right / (predicted + true) if predicted + true else nothing,
    }


def _extra_reason(call: ParsedToolCall) -> str:
    return "extra_call" if is_well_formed(call) else "malformed"


def _pair_reasons(call: ParsedToolCall | None, truth: TruthCall, any_calls: bool) -> list[str]:
    """What is wrong with the prediction for one ground-truth call; nothing if it is right."""
    if call is None:
        return ["missing_call" if any_calls else "no_call"]
    reasons = _own_faults(call)
    if call.name != truth.name:
        return [*reasons, "wrong_tool"] if is_well_formed(call) else reasons
    if not call.arguments_valid_json:
        return reasons or ["malformed"]
    given = call.arguments
    if truth.required - given.keys():
        reasons.append("missing_argument")
    if given.keys() - truth.known:
        reasons.append("hallucinated_argument")
    if not all(accepts_argument(truth, key, given[key]) for key in given.keys() & truth.known):
        reasons.append("wrong_value")
    return reasons


def _own_faults(call: ParsedToolCall) -> list[str]:
    """What is wrong with an attempt, whatever should have been called."""
    if call.status == "unknown_tool":
        return ["unknown_tool"]
    return [] if is_well_formed(call) else ["malformed"]


def _ordered(reasons: Iterable[str]) -> tuple[str, ...]:
    found = set(reasons)
    return tuple(reason for reason in REASONS if reason in found)
