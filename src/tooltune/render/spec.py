"""Everything that decides how a trace is rendered, in one value.

Training, evaluation and the checkpoint carry the same `RenderSpec`, so that what was trained is
what is evaluated and served.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RenderSpec:
    """Template, its arguments, and the flags that choose what carries loss.

    chat_template: Jinja source that overrides the tokenizer's own; None keeps that.
    chat_template_kwargs: handed to the template at every render (`enable_thinking`, ...).
    date: the day, as `2026-01-31`, that templates which print one are given; None: today.
    train_on_last_turn_only: only a trace's last assistant turn is a target.
    mask_reasoning_content: reasoning stays in the text but carries no loss.
    drop_history_reasoning_content: a prompt shows no reasoning from before its last user message.
    """

    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    date: str | None = None
    train_on_last_turn_only: bool = False
    mask_reasoning_content: bool = False
    drop_history_reasoning_content: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "chat_template": self.chat_template,
            "chat_template_kwargs": dict(self.chat_template_kwargs),
            "date": self.date,
            "train_on_last_turn_only": self.train_on_last_turn_only,
            "mask_reasoning_content": self.mask_reasoning_content,
            "drop_history_reasoning_content": self.drop_history_reasoning_content,
        }

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when anything in the specification does."""
        text = json.dumps(self.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
