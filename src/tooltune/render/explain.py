"""What is trained, token by token, and why: the data behind every preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.render.sequences import chain_turns
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import RenderedTrace
from tooltune.render.types import Turn


@dataclass(frozen=True, slots=True)
class ExplainedToken:
    """One token of a training sequence.

    `turn` is the message index of the assistant turn that the token belongs to, None for context.
    `weight` is its loss weight; 0.0 carries no loss, and `reason` says why.
    """

    id: int
    text: str
    turn: int | None
    weight: float
    reason: str


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
        for token, weight in zip(turn.completion_ids, turn.weights, strict=True):
            reason = "trained" if weight > 0 else _why_not(turn, row, spec)
            text = _text(tokenizer, token)
            tokens.append(ExplainedToken(token, text, turn.index, weight, reason))
    return tokens


def _why_not(turn: Turn, row: RenderedTrace, spec: RenderSpec) -> str:
    if row.trace.messages[turn.index].weight <= 0:
        return "the message has weight 0"
    if turn.n_targets:
        return "reasoning is masked (mask_reasoning_content)"
    if spec.train_on_last_turn_only:
        return "not the last turn (train_on_last_turn_only)"
    return "no loss"


def _text(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token], skip_special_tokens=False))
