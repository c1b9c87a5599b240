"""Rows through one template: accepted with invariants 1 to 4 checked, or refused with a reason."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tests.render.stock_templates import DATE
from tooltune.render.messages import to_template, tools_to_template
from tooltune.render.representable import RowRejected
from tooltune.render.turns import RenderedTrace, Renderer
from tooltune.toolcalls.parse import parse_turn
from tooltune.traces.frozen import thaw
from tooltune.traces.types import Message, Tool, Trace
from tooltune.worlds.generate import generate_traces

N_GENERATED = 40


@dataclass
class Outcome:
    """How many rows a template accepted, and why it refused the others."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.accepted + self.refused.total()


def generated_sets() -> dict[str, list[Trace]]:
    """Traces of our simulated tools: as they are, with text beside calls, and with reasoning."""
    plain = generate_traces(N_GENERATED, seed=1, split="train")
    return {
        "generated": plain,
        "with text beside calls": [_changed(trace, content="Let me look.") for trace in plain],
        "with reasoning": [_changed(trace, reasoning="What is asked for?") for trace in plain],
    }


def _changed(trace: Trace, *, content: str = "", reasoning: str = "") -> Trace:
    def change(message: Message) -> Message:
        if message.role != "assistant":
            return message
        if reasoning:
            return replace(message, reasoning=reasoning)
        return replace(message, content=message.content or content) if content else message

    return Trace(tuple(map(change, trace.messages)), trace.tools)


def run(renderer: Renderer, source: str, traces: Iterable[Trace]) -> Outcome:
    """Every row accepted or refused. An accepted one that breaks an invariant is an error."""
    outcome = Outcome()
    for trace in traces:
        try:
            rendered = renderer.render(trace)
        except RowRejected as rejection:
            outcome.refused[rejection.code] += 1
            outcome.reasons.setdefault(rejection.code, rejection.reason)
            continue
        check_exact(renderer, source, rendered)
        outcome.accepted += 1
    return outcome


def check_exact(renderer: Renderer, source: str, rendered: RenderedTrace) -> None:
    """Invariants 1 to 4 of an accepted row, held against transformers' own calls."""
    trace, tokenizer, profile = rendered.trace, renderer.tokenizer, renderer.profile
    assert tuple(turn.index for turn in rendered.turns) == trace.turns
    plain, tools = to_template(trace.messages, profile.shape), tools_to_template(trace.tools)
    for turn in rendered.turns:
        message = trace.messages[turn.index]
        prompt = tokenizer.apply_chat_template(
            plain[: turn.index],
            tools=tools,
            chat_template=_stopped(source),
            add_generation_prompt=True,
            tokenize=False,
            **renderer.spec.chat_template_kwargs,
        )
        own = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        assert tuple(own) == turn.prompt_ids, f"invariant 1: {trace.id}[{turn.index}]"
        text = tokenizer.decode(turn.completion_ids, skip_special_tokens=False)
        if profile.call_format is not None:
            _check_answer(message, text, profile.call_format, trace.tools)
        stops = set(renderer.stop_ids)
        assert turn.completion_ids[-1] in stops, "invariant 3"
        assert not stops & set(turn.completion_ids[:-1]), "invariant 4: targets behind the stop"
        assert len(turn.weights) == len(turn.completion_ids), "invariant 4"


def _check_answer(message: Message, text: str, call_format: str, tools: tuple[Tool, ...]) -> None:
    parsed = parse_turn(text, call_format, tools or None)
    said = [[call.name, thaw(call.arguments)] for call in message.tool_calls]
    read = [[call.name, call.arguments] for call in parsed.calls]
    texts = ((message.content, parsed.content), (message.reasoning, parsed.reasoning))
    assert _folded(said) == _folded(read), f"invariant 2: {said} and {read}"
    for given, found in texts:
        assert _folded((given or "").strip()) == _folded((found or "").strip()), "invariant 2"


def _folded(value: Any) -> str:
    return unicodedata.normalize("NFC", json.dumps(value, sort_keys=True, ensure_ascii=False))


def _stopped(source: str) -> str:
    """The template with `DATE` where it asks for today's, as the renderer was told."""
    day = datetime.fromisoformat(DATE)
    call = re.compile(r"""strftime_now\((?:"([^"]*)"|'([^']*)')\)""")
    return call.sub(lambda match: repr(day.strftime(match[1] or match[2])), source)
