"""Records of samples.jsonl, made up for tests."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tooltune.toolcalls import ParsedToolCall, score_turn
from tooltune.toolcalls.score import skipped_turn

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
    verdict = asdict(score_turn(said, truth) if skip is None else skipped_turn(skip))
    verdict["reasons"] = list(verdict["reasons"])
    return {
        "sample_id": f"{trace}/{turn}",
        "example_id": trace,
        "turn_index": turn,
        "group": trace if group is None else group,
        "dataset": dataset,
        "kind": kind,
        "gt_tool_calls": truth,
        "calls": [{"name": c.name, "arguments": c.arguments, "status": c.status} for c in said],
        "finish_reason": "stop" if skip is None else "skipped",
        "skip_reason": skip,
        "teacher_forced_exact": exact,
        "verdict": verdict,
    }
