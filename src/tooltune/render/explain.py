"""What is trained, token by token, and why: the data behind every preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.render.sequences import chain_turns
from tooltune.render.spec import Part, RenderSpec
from tooltune.render.turns import RenderedTrace
from tooltune.render.types import Turn
from tooltune.traces.failures import mended_failures


@dataclass(frozen=True, slots=True)
class ExplainedToken:
    """One token of a training sequence.

    `turn` is the message index of the assistant turn that the token belongs to, None for context.
    `weight` is its loss weight; 0.0 carries no loss, and `reason` says why. `part` is the part of
    its turn ("reasoning", "text", "tool_call") where the renderer marked parts, else None.
    """

    id: int
    text: str
    turn: int | None
    weight: float
    reason: str
    part: str | None = None


def explain(row: RenderedTrace, tokenizer: Any, spec: RenderSpec) -> list[list[ExplainedToken]]:
    """The sequences of a trace (several where its template rewrites history), explained."""
    return [_explain_chain(chain, row, tokenizer, spec) for chain in chain_turns(row.turns)]


def _explain_chain(
    chain: Sequence[Turn], row: RenderedTrace, tokenizer: Any, spec: RenderSpec
) -> list[ExplainedToken]:
    tokens: list[ExplainedToken] = []
    for turn in chain:
        for token in turn.prompt_ids[len(tokens) :]:
            tokens.append(ExplainedToken(token, _text(tokenizer, token), None, 0.0, "context"))
        parts = turn.parts or (None,) * len(turn.completion_ids)
        for token, weight, part in zip(turn.completion_ids, turn.weights, parts, strict=True):
            reason = "trained" if weight > 0 else _why_not(turn, part, row, spec)
            text = _text(tokenizer, token)
            tokens.append(ExplainedToken(token, text, turn.index, weight, reason, part))
    return tokens


def _why_not(turn: Turn, part: Part | None, row: RenderedTrace, spec: RenderSpec) -> str:
    if row.trace.messages[turn.index].weight <= 0:
        failed = spec.skip_failed_calls and turn.index in mended_failures(row.trace)
        return "a failed call (skip_failed_calls)" if failed else "the message has weight 0"
    if spec.train_on_last_turn_only and turn is not row.turns[-1]:
        return "not the last turn (train_on_last_turn_only)"
    if spec.mask_reasoning_content and (part or "reasoning") == "reasoning":
        return "reasoning is masked (mask_reasoning_content)"
    if 0 in spec.part_weights.values():
        return f"the weight of its part is 0 (loss_weights.{part or 'PART'})"
    return "no loss"


def _text(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token], skip_special_tokens=False))
