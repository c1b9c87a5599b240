"""Tool calls in generated text: parse them, match them with the ground truth, score them."""

from tooltune.toolcalls.match import match_calls
from tooltune.toolcalls.parse import parse_tool_calls, parse_turn
from tooltune.toolcalls.score import (
    TurnScore,
    check_ground_truth,
    compute_sample_metrics,
    score_turn,
)
from tooltune.toolcalls.types import ParsedToolCall, ParsedTurn

__all__ = [
    "ParsedToolCall",
    "ParsedTurn",
    "TurnScore",
    "check_ground_truth",
    "compute_sample_metrics",
    "match_calls",
    "parse_tool_calls",
    "parse_turn",
    "score_turn",
]
