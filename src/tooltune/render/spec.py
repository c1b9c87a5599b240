"""Everything that decides how a trace is rendered, in one value.

Training, evaluation and the checkpoint carry the same `RenderSpec`, so that what was trained is
what is evaluated and served.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from tooltune.errors import UserError

Part = Literal["reasoning", "text", "tool_call"]
ControlTokens = Literal["reject", "escape", "allow"]


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What a target of each part of a turn weighs; 0 masks the part. See `render/parts.py`."""

    tool_call: float = 1.0
    text: float = 1.0
    reasoning: float = 1.0

    def __post_init__(self) -> None:
        for part, weight in asdict(self).items():
            number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
            if not (number and math.isfinite(weight) and weight >= 0):
                raise UserError(
                    f"the loss weight of {part} is {weight!r}",
                    fix=f"give loss_weights.{part} a number that is not negative",
                )

    @classmethod
    def of(cls, weights: LossWeights | Mapping[str, float] | None) -> LossWeights:
        """`{"reasoning": 0.5}` and the like, what is left out being 1. Raises: UserError."""
        if isinstance(weights, LossWeights):
            return weights
        unknown = sorted(set(weights or ()) - set(get_args(Part)))
        if unknown:
            raise UserError(
                f"loss_weights names {', '.join(map(repr, unknown))}, which is no part of a turn",
                fix=f"use {', '.join(get_args(Part))}",
            )
        return cls(**(weights or {}))


@dataclass(frozen=True, slots=True)
class RenderSpec:
    """Template, its arguments, and the flags that choose what is shown and what carries loss.

    chat_template: Jinja source that overrides the tokenizer's own; None keeps that.
    chat_template_kwargs: handed to the template at every render (`enable_thinking`, ...).
    date: the day, as `2026-01-31`, that templates which print one are given; None: today.
    train_on_last_turn_only: only a trace's last assistant turn is a target.
    mask_reasoning_content: reasoning stays in the text but carries no loss.
    drop_history_reasoning_content: a prompt shows no reasoning from before its last user message.
    seq_length: tokens that the longest turn of a trace (prompt and completion) may have. Without
        effect unless one of the next three says what happens to a longer one (`max_length`).
    truncate_history: whole oldest exchanges go until the trace fits (`render/truncate.py`).
    filter_overlong: what is still longer is rejected (`overlong`).
    truncation: what is still longer loses the turns that do not fit, whole.
    filter_no_assistant: rows without an assistant turn are rejected under a code of their own.
    trim_incomplete_last_turn: what no assistant message answers is cut off the end.
    skip_failed_calls: calls that failed and were mended by a later one carry no loss.
    control_tokens: data that spells out control strings is rejected, encoded as ordinary
        characters (`escape`), or encoded as the plain tokenizer call would (`allow`).
    loss_weights: multiply the weights of messages and of the trace.
    """

    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    date: str | None = None
    train_on_last_turn_only: bool = False
    mask_reasoning_content: bool = False
    drop_history_reasoning_content: bool = False
    seq_length: int | None = None
    truncate_history: bool = False
    filter_overlong: bool = False
    truncation: bool = False
    filter_no_assistant: bool = False
    trim_incomplete_last_turn: bool = False
    skip_failed_calls: bool = False
    control_tokens: ControlTokens = "reject"
    loss_weights: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        if self.control_tokens not in get_args(ControlTokens):
            raise UserError(
                f"control_tokens is {self.control_tokens!r}",
                fix=f"use {', '.join(get_args(ControlTokens))}",
            )
        needy = [key for key in _NEED_LENGTH if getattr(self, key)]
        if needy and self.seq_length is None:
            raise UserError(f"`{needy[0]}` needs a length", fix="give `seq_length` (tokens)")
        if self.seq_length is not None and self.seq_length < 1:
            raise UserError(f"seq_length is {self.seq_length}", fix="give at least one token")

    @property
    def max_length(self) -> int | None:
        """The length in tokens that is enforced; None: any."""
        return self.seq_length if any(getattr(self, key) for key in _NEED_LENGTH) else None

    @property
    def part_weights(self) -> dict[Part, float]:
        """The weight of each part of a turn, `mask_reasoning_content` included."""
        weights = self.loss_weights
        return {
            "reasoning": 0.0 if self.mask_reasoning_content else weights.reasoning,
            "text": weights.text,
            "tool_call": weights.tool_call,
        }

    @property
    def of_prompts(self) -> RenderSpec:
        """The same prompts, without the flags that only weigh targets.

        A turn that carries no loss under them can be asked all the same.
        """
        return replace(
            self,
            train_on_last_turn_only=False,
            mask_reasoning_content=False,
            loss_weights=LossWeights(),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RenderSpec:
        """What `to_dict` gave. Raises: TypeError for unknown keys, UserError for wrong values."""
        return cls(**{**values, "loss_weights": LossWeights.of(values.get("loss_weights"))})

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "chat_template_kwargs": dict(self.chat_template_kwargs)}

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when anything in the specification does."""
        text = json.dumps(self.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_NEED_LENGTH = ("truncate_history", "filter_overlong", "truncation")
