"""Records of samples.jsonl, made up for tests."""

from __future__ import annotations

from typing import Any

from tooltune.toolcalls import ParsedToolCall, score_turn
from tooltune.toolcalls.score import TurnScore

TRUTH = [{"name": "f", "arguments": {"x": 1}}]
RIGHT = ParsedToolCall("f", {"x": 1})
WRONG = ParsedToolCall("f", {"x": 2})
GARBAGE = ParsedToolCall(None, {}, False, "{", "invalid_json")


def record(
    trace: str,
    turn: int = 1,
    said: tuple[ParsedToolCall, ...] = (),
    *,
    kind: str = "call",
    skip: str | None = None,
    dataset: str = "held_out",
    group: str | None = None,
    exact: bool | None = None,
) -> dict[str, Any]:
    """One evaluated turn: what a model said to it, or why it was skipped."""
    truth = TRUTH if kind == "call" else []
    score: TurnScore = score_turn(said, truth)
    verdict: dict[str, Any] = {
        "correct": score.correct,
        "outcome": score.outcome,
        "reasons": list(score.reasons),
        "scores": dict(score.scores),
    }
    if skip is not None:
        verdict = {"correct": False, "outcome": "skipped", "reasons": [skip], "scores": {}}
    return {
        "sample_id": f"{trace}/{turn}",
        "example_id": trace,
        "turn_index": turn,
        "group": trace if group is None else group,
        "dataset": dataset,
        "kind": kind,
        "gt_tool_calls": truth,
        "finish_reason": "stop" if skip is None else "skipped",
        "skip_reason": skip,
        "teacher_forced_exact": exact,
        "verdict": verdict,
    }
