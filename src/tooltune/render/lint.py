"""Lint of traces under one chat template: what it makes of turns that the data left incomplete.

Rows that the template cannot say are in the ledger; this is about rows that it can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tooltune.render.completion import PrefixError, turn_texts
from tooltune.render.messages import MessageShape
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.render.turns import Renderer
from tooltune.traces.lint.types import Check, Finding, found
from tooltune.traces.types import Message, Trace

_QUESTION = Message("user", "zqquestion")
_THOUGHT, _ANSWER = "zqthought", "zqanswer"
_SWITCHES: tuple[dict[str, Any], ...] = ({"enable_thinking": False}, {"thinking": False})


@dataclass(frozen=True, slots=True)
class EmptyThinking:
    """What a turn without reasoning begins with, and the template argument that prevents it."""

    block: str
    switch: str | None

    @property
    def fix(self) -> str:
        if self.switch is None:
            return "give these turns reasoning, or use a template (model.chat_template) without"
        return f"set model.chat_template_kwargs: {self.switch}, in serving too, or add reasoning"


def probe_thinking(renderer: Renderer) -> EmptyThinking | None:
    """Whether the completion of a turn without reasoning holds an empty think block.

    Qwen3's does: `<think>\\n\\n</think>\\n\\n` before the answer, where the prompt left the choice
    to the model. A model trained on such turns alone learns not to think. None where it does not.
    """
    shape = renderer.profile.shape
    block = _thinking_block(renderer.template, shape)
    if block is None:
        return None
    for switch in _SWITCHES:
        kwargs = {**renderer.spec.chat_template_kwargs, **switch}
        spec = replace(renderer.spec, chat_template_kwargs=kwargs)
        if _opening(ChatTemplate(renderer.tokenizer, spec), shape, None) == "":
            return EmptyThinking(block, f"{{{next(iter(switch))}: false}}")
    return EmptyThinking(block, None)


def _thinking_block(template: ChatTemplate, shape: MessageShape) -> str | None:
    """The empty think block: what stands around a thought, where nothing was thought."""
    empty = _opening(template, shape, None)
    thinking = _opening(template, shape, _THOUGHT)
    if not empty or thinking is None or _THOUGHT not in thinking:
        return None
    around = thinking.replace(_THOUGHT, "", 1)
    return empty if "".join(empty.split()) == "".join(around.split()) else None


def _opening(template: ChatTemplate, shape: MessageShape, reasoning: str | None) -> str | None:
    """What a completion holds before its answer, edge white space aside; None if it has none."""
    turn = Message("assistant", _ANSWER, reasoning=reasoning)
    try:
        completion = turn_texts(template, [_QUESTION], turn, None, shape)[1]
    except (TemplateError, PrefixError):
        return None
    before, answer, _ = completion.partition(_ANSWER)
    return before.strip() if answer else None


def template_checks(renderer: Renderer) -> dict[str, Check]:
    """The checks that one template calls for."""
    thinking = probe_thinking(renderer)
    if thinking is None:
        return {}
    only_last = renderer.spec.train_on_last_turn_only

    def check_thinking(trace: Trace) -> Iterator[Finding]:
        """Turns without reasoning, which the template writes with an empty think block."""
        turns = trace.turns[-1:] if only_last else trace.turns
        for i in turns:
            message = trace.messages[i]
            if message.weight > 0 and not (message.reasoning or "").strip():
                what = f"no reasoning: {thinking.block!r} is learnt before the answer"
                yield found(trace, "empty_thinking_learnt", i, what, thinking.fix)

    return {"thinking": check_thinking}
