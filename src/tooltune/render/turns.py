"""Trace to turns: prompt ids and completion ids as inference sees them, or a named refusal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tooltune.errors import UserError
from tooltune.render.completion import PrefixError, turn_texts
from tooltune.render.encode import SegmentEncoder
from tooltune.render.injection import Placeholders, find_forbidden, untrusted_strings
from tooltune.render.messages import tools_to_template, without_old_reasoning
from tooltune.render.profile import Stop, TemplateProfile, probe_template
from tooltune.render.representable import RowRejected, check_completion, check_representable
from tooltune.render.spec import RenderSpec
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.render.types import Turn
from tooltune.traces.ledger import Ledger
from tooltune.traces.types import Message, ToolCall, Trace


@dataclass(frozen=True, slots=True)
class RenderedTrace:
    """A trace and its turns, in order. Turns without a positive weight are context only."""

    trace: Trace
    turns: tuple[Turn, ...]

    @property
    def trained_turns(self) -> tuple[Turn, ...]:
        return tuple(turn for turn in self.turns if turn.n_targets)


class Renderer:
    """Renders traces for one tokenizer under one specification.

    Raises (at construction): UserError for a tokenizer without a usable chat template.
    """

    def __init__(self, tokenizer: Any, spec: RenderSpec | None = None) -> None:
        self.tokenizer = tokenizer
        self.spec = spec or RenderSpec()
        self.template = ChatTemplate(tokenizer, self.spec)
        self.profile: TemplateProfile = probe_template(self.template, tokenizer)
        self.encoder = SegmentEncoder(tokenizer)
        if self.spec.mask_reasoning_content and not self.encoder.knows_spans:
            raise UserError(
                "mask_reasoning_content needs a fast tokenizer, and this one is not",
                fix="use a model whose folder has a tokenizer.json, or leave that flag out",
            )
        self.escaped_strings = 0  # special tokens in data that were encoded as plain text

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self.profile.stop_ids

    def render(self, trace: Trace) -> RenderedTrace:
        """Render every turn of a trace and check invariants 1 to 4 on it.

        Raises: RowRejected with a code that names the field and a reason that names the fix.
        """
        check_representable(trace, self.profile)
        found = find_forbidden(trace, self.profile.controls)
        if found:
            field, string = found
            raise RowRejected(
                "control_token_in_text",
                f"{field} holds {string!r}, which the chat template uses as structure; rewrite or "
                "remove it in the data",
            )
        hidden = self._hide(trace)
        messages, tools = trace.messages, tools_to_template(trace.tools)
        if hidden is not None:
            pattern = self.profile.controls.escaped
            messages = tuple(_hide_in_message(message, hidden, pattern) for message in messages)
            tools = hidden.hide(tools, pattern)
        last = max(trace.turns, default=None)
        turns = [
            self._turn(trace, messages, tools, i, hidden, is_last=i == last) for i in trace.turns
        ]
        if not any(turn.n_targets for turn in turns):
            raise RowRejected(
                "no_targets",
                "no assistant turn of this row carries loss (only a leading assistant message, or "
                "every weight is 0)",
            )
        if not self._encoder_agrees(turns[-1], hidden):
            self.encoder.use_whole_texts()
            return self.render(trace)
        if hidden is not None:
            self.escaped_strings += len(hidden.originals)
        return RenderedTrace(trace, tuple(turns))

    def _turn(
        self,
        trace: Trace,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None,
        index: int,
        hidden: Placeholders | None,
        *,
        is_last: bool,
    ) -> Turn:
        before: Sequence[Message] = messages[:index]
        if self.spec.drop_history_reasoning_content:
            before = without_old_reasoning(before)
        try:
            prompt, rest = turn_texts(
                self.template, before, messages[index], tools, self.profile.shape
            )
        except (TemplateError, PrefixError) as error:
            code = (
                "template_error" if isinstance(error, TemplateError) else "template_rewrites_prompt"
            )
            raise RowRejected(code, f"messages[{index}]: {error}") from error
        completion = _cut_at_stop(rest, self._stop(trace.messages[index]), index)
        prompt_text = _restored(prompt, hidden, index)
        completion_text = _restored(completion, hidden, index)
        prompt_ids = self.encoder.encode(prompt, hidden=hidden)
        completion_ids = self.encoder.encode(completion, first=False, hidden=hidden)
        message = trace.messages[index]
        spelled = self._spelled(completion_ids, completion_text, index)
        check_completion(message, spelled, self.profile, index)
        if completion_ids[-1] not in self.stop_ids:
            raise RowRejected(
                "no_stop_token", f"messages[{index}]: the turn's last token is no stop"
            )
        trained = message.weight > 0 and (is_last or not self.spec.train_on_last_turn_only)
        weights = [message.weight if trained else 0.0] * len(completion_ids)
        if trained and self.spec.mask_reasoning_content and (message.reasoning or "").strip():
            start, end = self._reasoning_span(message, completion_text, index)
            spans = self.encoder.token_spans(completion, hidden=hidden)
            weights = [
                0.0 if first < end and last > start else weight
                for weight, (first, last) in zip(weights, spans, strict=True)
            ]
        return Turn(
            trace_id=trace.id,
            index=index,
            prompt_ids=tuple(prompt_ids),
            completion_ids=tuple(completion_ids),
            weights=tuple(weights),
            prompt_text=prompt_text,
            completion_text=completion_text,
        )

    def _stop(self, message: Message) -> Stop:
        return self.profile.stops["tool_calls" if message.tool_calls else "text"]

    def _reasoning_span(self, message: Message, completion: str, index: int) -> tuple[int, int]:
        """Characters (start, end) of the reasoning in its completion."""
        reasoning, opening = (message.reasoning or "").strip(), self.profile.reasoning_opening
        # Behind the opening, which may hold the same words ("think" in "<think>").
        start = completion.find(reasoning, len(opening) if completion.startswith(opening) else 0)
        if start < 0:
            raise RowRejected(
                "reasoning_not_found",
                f"messages[{index}].reasoning_content: the rendered turn does not show it as it "
                "is, so `mask_reasoning_content` cannot mask it",
            )
        return start, start + len(reasoning)

    def _hide(self, trace: Trace) -> Placeholders | None:
        """Stand-ins for special tokens spelled out in the data, or None where there are none."""
        pattern = self.profile.controls.escaped
        if not any(pattern.search(text) for _, text in untrusted_strings(trace)):
            return None
        if not self.encoder.cuts:
            raise RowRejected(
                "special_token_in_text",
                "the data spells out a special token, and this tokenizer cannot read it as text",
            )
        return Placeholders()

    def _encoder_agrees(self, turn: Turn, hidden: Placeholders | None) -> bool:
        """Invariant 1 on this row: our ids are the tokenizer's own, and decode to the text."""
        if hidden is None and self.encoder.cuts:
            ids = self.tokenizer(turn.prompt_text, add_special_tokens=False)["input_ids"]
            if tuple(ids) != turn.prompt_ids:
                return False
        self._spelled(
            [*turn.prompt_ids, *turn.completion_ids],
            turn.prompt_text + turn.completion_text,
            turn.index,
        )
        return True

    def _spelled(self, ids: Sequence[int], text: str, index: int) -> str:
        """The text that `ids` spell, which is `text` but for the tokenizer's normaliser."""
        decoded: str = self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        if self._normalised(decoded).strip() != self._normalised(text).strip():
            raise RowRejected(
                "text_not_reversible",
                f"messages[{index}]: the tokenizer cannot spell this row's text (decoding its ids "
                "gives another text)",
            )
        return decoded

    def _normalised(self, text: str) -> str:
        normalizer = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)
        return text if normalizer is None else str(normalizer.normalize_str(text))


def render_traces(
    renderer: Renderer, traces: Iterable[Trace], ledger: Ledger
) -> list[RenderedTrace]:
    """Render what can be rendered; each refused row goes to the ledger (invariant 7)."""
    rendered = []
    for trace in traces:
        try:
            rendered.append(renderer.render(trace))
        except RowRejected as rejection:
            source = trace.source
            ledger.reject(
                source.file if source else "",
                source.row if source else -1,
                rejection.code,
                rejection.reason,
            )
    return rendered


def _cut_at_stop(rest: str, stop: Stop, index: int) -> str:
    """The completion: `rest` through its stop; what the template writes behind it is not learnt."""
    if not stop.written:
        return rest + stop.text
    end = rest.rfind(stop.text)
    if end < 0:
        raise RowRejected("no_stop_token", f"messages[{index}]: the render lacks {stop.text!r}")
    end += len(stop.text)
    if rest[end:].strip() not in ("", stop.trailing):
        raise RowRejected(
            "text_after_stop",
            f"messages[{index}]: the template writes {rest[end:]!r} after the stop",
        )
    return rest[:end]


def _restored(text: str, hidden: Placeholders | None, index: int) -> str:
    if hidden is None:
        return text
    try:
        return hidden.restore(text)
    except ValueError as error:
        raise RowRejected("special_token_in_text", f"messages[{index}]: {error}") from error


def _hide_in_message(message: Message, hidden: Placeholders, pattern: re.Pattern[str]) -> Message:
    """`message` with stand-ins in every field that `untrusted_strings` lists."""
    texts = ("content", "reasoning", "tool_call_id", "name")
    changed = {key: hidden.hide(getattr(message, key), pattern) for key in texts}
    changed["tool_calls"] = tuple(
        ToolCall(*(hidden.hide(part, pattern) for part in (call.name, call.arguments, call.id)))
        for call in message.tool_calls
    )
    return replace(message, **changed)
