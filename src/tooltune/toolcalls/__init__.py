"""Tool calls in generated text: parse them, match them with the ground truth, score them."""

from tooltune.toolcalls.choices import OneOf
from tooltune.toolcalls.failures import FAILURE_CLASSES, failure_class
from tooltune.toolcalls.match import match_calls
from tooltune.toolcalls.parse import parse_tool_calls, parse_turn
from tooltune.toolcalls.score import (
    GraderError,
    TurnScore,
    check_ground_truth,
    compute_sample_metrics,
    score_sample,
    score_turn,
)
from tooltune.toolcalls.truth import GroundTruth, TruthCall
from tooltune.toolcalls.types import ParsedToolCall, ParsedTurn

__all__ = [
    "FAILURE_CLASSES",
    "GraderError",
    "GroundTruth",
    "OneOf",
    "ParsedToolCall",
    "ParsedTurn",
    "TruthCall",
    "TurnScore",
    "check_ground_truth",
    "compute_sample_metrics",
    "failure_class",
    "match_calls",
    "parse_tool_calls",
    "parse_turn",
    "score_sample",
    "score_turn",
]
