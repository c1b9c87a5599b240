"""Trace to turns: prompt ids and completion ids as inference sees them, or a named refusal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tooltune.errors import UserError
from tooltune.render.account import RenderCounts
from tooltune.render.completion import PrefixError, plain_turn_texts
from tooltune.render.encode import SegmentEncoder
from tooltune.render.injection import (
    Placeholders,
    find_controls,
    hide_in_message,
    strings_of_messages,
)
from tooltune.render.messages import PlainMessage, to_template, without_old_reasoning
from tooltune.render.parts import Gaps, find_gaps, parts_differ, token_parts
from tooltune.render.profile import TemplateProfile, probe_template
from tooltune.render.representable import (
    RowRejected,
    check_completion,
    check_prompts,
    check_representable,
)
from tooltune.render.spec import Part, RenderSpec
from tooltune.render.stops import Stop
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.render.tool_memory import ToolMemory
from tooltune.render.truncate import NO_CUT, Cut, fit, length_of, without_unanswered_end
from tooltune.render.types import Turn
from tooltune.render.verify import RowCheck
from tooltune.traces.failures import mended_failures
from tooltune.traces.ledger import Ledger
from tooltune.traces.types import Message, Trace


@dataclass(frozen=True, slots=True)
class RenderedTrace:
    """A trace and its turns, in order. Turns without a positive weight are context only.

    `trace` is the one that was given, save that messages whose loss a flag took away have weight
    0 and a trimmed end is gone; turns that fell to `seq_length` are missing, and counted in `cut`.
    """

    trace: Trace
    turns: tuple[Turn, ...]
    cut: Cut = NO_CUT

    @property
    def trained_turns(self) -> tuple[Turn, ...]:
        return tuple(turn for turn in self.turns if turn.n_targets)

    @property
    def length(self) -> int:
        """Tokens of the longest turn, prompt and completion."""
        return length_of(self.turns)


class Renderer:
    """Renders traces for one tokenizer under one specification; `counts` is its account.

    `mark_parts` gives every turn its `parts`, for those who want to show them.

    Raises (at construction): UserError for a tokenizer without a usable chat template.
    """

    def __init__(
        self, tokenizer: Any, spec: RenderSpec | None = None, *, mark_parts: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        self.spec = spec or RenderSpec()
        self.template = ChatTemplate(tokenizer, self.spec)
        self.profile: TemplateProfile = probe_template(self.template, tokenizer)
        self.encoder = SegmentEncoder(tokenizer, self.profile.controls.strings)
        self.counts = RenderCounts()
        self._controls = self.profile.controls.under(self.spec.control_tokens)
        self._check = RowCheck(tokenizer, self.encoder)
        self._tools = ToolMemory(self._controls)
        self._mark_parts = mark_parts
        self._gaps: Gaps | None = None
        if len(set(self.spec.part_weights.values())) > 1 and not self.encoder.knows_spans:
            raise UserError(
                "mask_reasoning_content and loss_weights need a fast tokenizer, and this one is "
                "not",
                fix="use a model whose folder has a tokenizer.json, or leave those flags out",
            )

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self.profile.stop_ids

    @property
    def escaped_strings(self) -> int:
        return self.counts.escaped_strings

    def render(self, trace: Trace) -> RenderedTrace:
        """Render every turn of a trace, within `seq_length`, and check invariants 1 to 4 on it.

        Raises: RowRejected with a code that names the field and a reason that names the fix.
        """
        if self.spec.filter_no_assistant and not trace.turns:
            raise RowRejected(
                "filtered_no_assistant",
                "no assistant message with anything before it (filter_no_assistant)",
            )
        given, trace = trace, self._with_flags(trace)
        every, escaped = self._turns(trace)
        turns, limit, cut = tuple(every), self.spec.max_length, NO_CUT
        if limit is not None and length_of(turns) > limit:
            turns, cut = fit(trace, turns, self.spec, lambda kept: self._turns_of(trace, kept))
        rendered = RenderedTrace(trace, turns, cut)
        self._account(given, rendered, escaped)
        return rendered

    def _with_flags(self, trace: Trace) -> Trace:
        """The trace without what its flags cut off or take the loss from."""
        messages = trace.messages
        if self.spec.trim_incomplete_last_turn:
            messages = messages[: without_unanswered_end(messages)]
        if self.spec.skip_failed_calls:
            failed = mended_failures(trace)
            messages = tuple(
                replace(message, weight=0.0) if i in failed else message
                for i, message in enumerate(messages)
            )
        return trace if messages is trace.messages else replace(trace, messages=messages)

    def _account(self, given: Trace, rendered: RenderedTrace, escaped: int) -> None:
        counts, trace = self.counts, rendered.trace
        counts.rows += 1
        counts.escaped_strings += escaped
        counts.truncated_rows += bool(rendered.cut)
        counts.cut += rendered.cut
        counts.trimmed_messages += len(given.messages) - len(trace.messages)
        counts.skipped_failed_calls += sum(
            before.weight > 0 and after.weight == 0
            for before, after in zip(given.messages, trace.messages, strict=False)
        )
        counts.longest = max(counts.longest, rendered.length)

    def _turns_of(self, trace: Trace, kept: Sequence[int]) -> list[Turn]:
        """The turns of a trace that has only the messages `kept`; indices are the whole trace's."""
        shorter = replace(trace, messages=tuple(trace.messages[i] for i in kept))
        try:
            turns, _ = self._turns(shorter)
        except RowRejected as rejection:
            reason = f"cut to messages {kept[0]}, ... of seq_length: {rejection.reason}"
            raise RowRejected(rejection.code, reason) from rejection
        return [replace(turn, index=kept[turn.index]) for turn in turns]

    def prompt(self, trace: Trace, index: int) -> Turn:
        """What inference would read to answer after `trace.messages[:index]`: a turn without
        completion.

        For evaluation, where the right answer may be one that the template cannot write, or none
        is known. Checked as far as it goes (invariant 1); `seq_length` is not applied.

        Raises: RowRejected as `render`.
        """
        before = replace(trace, messages=trace.messages[:index])
        plain, tools, hidden = self._shown(before)
        if self.spec.drop_history_reasoning_content:
            plain = without_old_reasoning(plain)
        try:
            text = self.template.render(plain, tools, generation_prompt=True)
        except TemplateError as error:
            raise RowRejected("template_error", f"messages[{index}]: {error}") from error
        own = self._check.learn(text) if hidden is None else None
        if own is None and hidden is None and self.encoder.cuts:
            self.encoder.use_whole_texts()
        ids = self.encoder.encode(text, hidden=hidden)
        turn = Turn(trace.id, index, tuple(ids), (), (), _restored(text, hidden, index), "")
        check_prompts(before, [turn.prompt_text], index)
        if not self._check.agrees(turn, own):
            self.encoder.use_whole_texts()
            return self.prompt(trace, index)
        return turn

    def _shown(
        self, trace: Trace
    ) -> tuple[Sequence[PlainMessage], list[dict[str, Any]] | None, Placeholders | None]:
        """Messages and tools as the template gets them, and what stands in for special tokens.

        Raises: RowRejected for a trace that the template cannot show, or whose text is structure.
        """
        check_representable(trace, self.profile)
        tools = self._tools.shown(trace.tools)
        found = find_controls(strings_of_messages(trace.messages), self._controls)
        forbidden = found.forbidden or tools.found.forbidden
        if forbidden:
            field, string = forbidden
            raise RowRejected(
                "control_token_in_text",
                f"{field} holds {string!r}, which the chat template uses as structure; rewrite or "
                "remove it in the data, or read it as text (control_tokens: escape)",
            )
        messages, plain_tools, hidden = trace.messages, tools.plain, None
        if found.escaped or tools.found.escaped:
            hidden, pattern = self._placeholders(), self._controls.escaped
            messages = tuple(hide_in_message(message, hidden, pattern) for message in messages)
            plain_tools = hidden.hide(plain_tools, pattern)
        return to_template(messages, self.profile.shape), plain_tools, hidden

    def _turns(self, trace: Trace) -> tuple[list[Turn], int]:
        """Every turn of a trace, and how many special tokens its text spells out."""
        plain, plain_tools, hidden = self._shown(trace)
        texts = [self._texts(trace, plain, plain_tools, index) for index in trace.turns]
        own = self._check.learn(texts[-1][0]) if texts and hidden is None else None
        if own is None and hidden is None and self.encoder.cuts:
            self.encoder.use_whole_texts()
        last = max(trace.turns, default=None)
        turns = [
            self._turn(trace, i, *text, hidden, is_last=i == last)
            for i, text in zip(trace.turns, texts, strict=True)
        ]
        if not any(turn.n_targets for turn in turns):
            raise RowRejected(
                "no_targets",
                "no assistant turn of this row carries loss (only a leading assistant message, or "
                "every weight is 0)",
            )
        check_prompts(trace, [turn.prompt_text for turn in turns])
        if not self._check.agrees(turns[-1], own):
            self.encoder.use_whole_texts()
            return self._turns(trace)
        return turns, 0 if hidden is None else hidden.count

    def _texts(
        self,
        trace: Trace,
        messages: Sequence[PlainMessage],
        tools: list[dict[str, Any]] | None,
        index: int,
    ) -> tuple[str, str]:
        """Prompt and completion of a turn as the template writes them."""
        before = messages[:index]
        if self.spec.drop_history_reasoning_content:
            before = without_old_reasoning(before)
        try:
            prompt, rest = plain_turn_texts(self.template, before, messages[index], tools)
        except (TemplateError, PrefixError) as error:
            code = (
                "template_error" if isinstance(error, TemplateError) else "template_rewrites_prompt"
            )
            raise RowRejected(code, f"messages[{index}]: {error}") from error
        kind = "tool_calls" if trace.messages[index].tool_calls else "text"
        return prompt, _cut_at_stop(rest, self.profile.stops[kind], index)

    def _turn(
        self,
        trace: Trace,
        index: int,
        prompt: str,
        completion: str,
        hidden: Placeholders | None,
        *,
        is_last: bool,
    ) -> Turn:
        prompt_text = _restored(prompt, hidden, index)
        completion_text = _restored(completion, hidden, index)
        prompt_ids = self.encoder.encode(prompt, hidden=hidden)
        completion_ids = self.encoder.encode(completion, first=False, hidden=hidden)
        message = trace.messages[index]
        spelled = self._check.spelled(completion_ids, completion_text, index)
        if message.weight > 0:  # else it is context, which inference only reads
            check_completion(message, spelled, self.profile, index, trace.tools)
        self._check_stop(completion_ids, index)
        trained = message.weight > 0 and (is_last or not self.spec.train_on_last_turn_only)
        parts = self._parts(message, completion, completion_text, hidden, index, trained)
        by_part = self.spec.part_weights
        weight = message.weight * trace.weight if trained else 0.0
        if parts is None:
            part: Part = "tool_call" if message.tool_calls else "text"
            weights = (weight * by_part[part],) * len(completion_ids)
        else:
            weights = tuple(weight * by_part[part] for part in parts)
        return Turn(
            trace_id=trace.id,
            index=index,
            prompt_ids=tuple(prompt_ids),
            completion_ids=tuple(completion_ids),
            weights=weights,
            prompt_text=prompt_text,
            completion_text=completion_text,
            parts=parts if self._mark_parts and parts is not None else None,
        )

    def _parts(
        self,
        message: Message,
        completion: str,
        text: str,
        hidden: Placeholders | None,
        index: int,
        trained: bool,
    ) -> tuple[Part, ...] | None:
        """The part of each token of a completion, or None where all weigh the same anyway."""
        differ = trained and parts_differ(message, self.spec)
        if not (differ or (self._mark_parts and self.encoder.knows_spans)):
            return None
        if self._gaps is None:
            self._gaps = find_gaps(self.template, self.profile)
        spans, where = self.encoder.token_spans(completion, hidden=hidden), f"messages[{index}]"
        try:
            parts = token_parts(message, text, spans, self.profile, self._gaps, where)
        except RowRejected:
            if differ:
                raise
            return None
        return tuple(parts)

    def _check_stop(self, completion: Sequence[int], index: int) -> None:
        """Invariant 3. A stop inside can only be the data's, where `allow` lets it in."""
        if completion[-1] not in self.stop_ids:
            raise RowRejected(
                "no_stop_token", f"messages[{index}]: the turn's last token is no stop"
            )
        stops = self.stop_ids  # generation ends at any of them, not only at this kind of turn's
        if self.spec.control_tokens == "allow" and any(token in stops for token in completion[:-1]):
            raise RowRejected(
                "stop_token_in_text",
                f"messages[{index}]: its text holds the token that ends a turn, so the model would "
                "stop there; remove it, or read it as text (control_tokens: escape)",
            )

    def _placeholders(self) -> Placeholders:
        """Stand-ins for special tokens spelled out in the data."""
        if not self.encoder.reads_controls_as_text:
            raise RowRejected(
                "special_token_in_text",
                "the data spells out a special token, and this tokenizer cannot read it as text",
            )
        return Placeholders()


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
