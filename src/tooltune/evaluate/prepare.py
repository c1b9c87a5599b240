"""From samples to what is asked of a model: prompts for its tokenizer, and one task per answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tooltune.errors import UserError
from tooltune.evaluate.samples import EvalSample, sample_turns
from tooltune.render.representable import RowRejected
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.traces.failures import mended_failures
from tooltune.traces.types import Message, ToolCall, Trace

T = TypeVar("T")

Key = tuple[str, str, int]
"""Data set, sample id and repeat: what one answer is an answer to."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sample ready to be asked; where `skip_reason` is set, it is not.

    `prompt_ids` are what the model reads, `draft_ids` the ground truth as it would write it. Who
    asks in messages and not in tokens has neither.
    """

    sample: EvalSample
    prompt_ids: tuple[int, ...] | None
    draft_ids: tuple[int, ...] = ()
    skip_reason: str | None = None

    @property
    def prompt_id(self) -> str:
        """16 hexadecimal digits that change when the prompt does."""
        if self.prompt_ids is not None:
            return _digest(repr(self.prompt_ids))
        if self.sample.turn is not None:
            return _digest(repr(self.sample.turn.prompt_ids))
        public, settings = self.sample.public(), self.sample.settings
        return _digest(json.dumps([public["prompt_messages"], public["tools"], settings]))

    @property
    def draft_id(self) -> str | None:
        return _digest(repr(self.draft_ids)) if self.draft_ids else None


@dataclass(frozen=True, slots=True)
class Task:
    """One answer that is wanted: the `repeat`-th, counted from 0, to a prepared sample.

    `seed` is what sampling starts from; it depends on nothing but the evaluation's seed and `key`,
    so that neither order nor an interruption changes what is drawn.
    """

    item: Prepared
    repeat: int
    seed: int
    prompt_id: str

    @property
    def key(self) -> Key:
        return self.item.sample.dataset, self.item.sample.sample_id, self.repeat


def make_tasks(prepared: Sequence[Prepared], *, repeats: int = 1, seed: int = 0) -> list[Task]:
    """Every answer wanted, the repeats of a sample one after the other."""
    tasks = []
    for item in prepared:
        sample, prompt_id = item.sample, item.prompt_id
        for repeat in range(repeats):
            own = _digest(json.dumps([seed, sample.dataset, sample.sample_id, repeat]))
            # 31 bits: servers take seeds as signed integers of unknown width
            tasks.append(Task(item, repeat, int(own, 16) >> 33, prompt_id))
    return tasks


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def checked_shard(index: int, count: int) -> tuple[int, int]:
    """Raises: UserError unless `index` is one of `count` shards, counted from 0."""
    if not 0 <= index < count:
        raise UserError(
            f"there is no shard {index} of {count}", fix=f"count from 0 to {max(count, 1) - 1}"
        )
    return index, count


def shard(items: Sequence[T], which: tuple[int, int] | None) -> list[T]:
    """Every `count`-th item from `index` on, of `which` = `(index, count)`; all of them if None."""
    if which is None:
        return list(items)
    index, count = which
    return list(items[index::count])


def prompt_spec(record: RenderSpec) -> RenderSpec:
    """What of a model's render record decides how prompts look, and nothing that chooses turns.

    Which turns are asked is for the data and the evaluation's own options to say: a base model
    (which has no record) and the one trained from it must be asked the same ones.
    """
    return RenderSpec(
        chat_template=record.chat_template,
        chat_template_kwargs=record.chat_template_kwargs,
        date=record.date,
        drop_history_reasoning_content=record.drop_history_reasoning_content,
        control_tokens=record.control_tokens,
    )


def without_failed_calls(traces: Iterable[Trace]) -> list[Trace]:
    """The traces, with calls that failed and that a later one mended as context only."""
    changed = []
    for trace in traces:
        failed = mended_failures(trace)
        messages = tuple(
            replace(message, weight=0.0) if i in failed else message
            for i, message in enumerate(trace.messages)
        )
        changed.append(replace(trace, messages=messages) if failed else trace)
    return changed


def is_full_tokenizer(tokenizer: Any) -> bool:
    """Whether an object is a Hugging Face tokenizer, rather than something that acts as one."""
    return hasattr(tokenizer, "get_chat_template") and hasattr(tokenizer, "added_tokens_decoder")


def prepare_samples(
    samples: Sequence[EvalSample], *, max_prompt_tokens: int | None
) -> list[Prepared]:
    """Prepare rendered samples; ids are the very ones that training used (invariant 1)."""
    prepared = []
    for sample in samples:
        if sample.turn is None:
            prepared.append(
                Prepared(sample, None, skip_reason=sample.skip_reason or "not_rendered")
            )
        else:
            turn = sample.turn
            prepared.append(Prepared(sample, turn.prompt_ids, turn.completion_ids))
    return [_limit(item, max_prompt_tokens) for item in prepared]


def render_samples(
    traces: Iterable[Trace], renderer: Renderer, *, include_abstain: bool
) -> list[EvalSample]:
    """Every turn to evaluate of every trace.

    Where the template cannot write some answer of a row, its turns are asked all the same, without
    a draft; those whose prompt it cannot write either carry the code of the refusal.
    """
    samples = []
    for trace in traces:
        indices = sample_turns(trace, include_abstain=include_abstain)
        try:
            row = renderer.render(trace)
        except RowRejected:
            samples += [_with_prompt(EvalSample(trace, i, None), renderer) for i in indices]
            continue
        turns = {turn.index: turn for turn in row.turns}
        kept = sample_turns(row.trace, include_abstain=include_abstain)  # what flags left of them
        samples += [
            EvalSample(row.trace, i, turns.get(i), skip_reason=None if i in turns else "overlong")
            for i in kept
        ]
    return samples


def render_prompts(samples: Iterable[EvalSample], renderer: Renderer) -> list[EvalSample]:
    """Samples of a suite with their prompts, and the right calls as the template writes them,
    if it can."""
    return [_with_answer(_with_prompt(sample, renderer), renderer) for sample in samples]


def _with_prompt(sample: EvalSample, renderer: Renderer) -> EvalSample:
    try:
        return replace(sample, turn=renderer.prompt(sample.trace, sample.turn_index))
    except RowRejected as rejection:
        return replace(sample, skip_reason=rejection.code)


def _with_answer(sample: EvalSample, renderer: Renderer) -> EvalSample:
    """The same prompt with the canonical calls as its completion: a draft, and no more."""
    calls = tuple(ToolCall(call["name"], call["arguments"]) for call in sample.gt_calls)
    if sample.turn is None or not calls:
        return sample
    messages = sample.trace.messages[: sample.turn_index]
    answered = replace(sample.trace, messages=(*messages, Message("assistant", tool_calls=calls)))
    try:
        turn = renderer.render(answered).turns[-1]
    except RowRejected:
        return sample
    return replace(sample, turn=turn) if turn.prompt_ids == sample.turn.prompt_ids else sample


def plain_samples(traces: Iterable[Trace], *, include_abstain: bool) -> list[EvalSample]:
    """Every turn to evaluate of every trace, not rendered: for whoever renders it himself."""
    return [
        EvalSample(trace, i, None)
        for trace in traces
        for i in sample_turns(trace, include_abstain=include_abstain)
    ]


def prepare_plainly(
    traces: Iterable[Trace],
    tokenizer: Any,
    *,
    include_abstain: bool,
    max_prompt_tokens: int | None,
) -> list[Prepared]:
    """Prepare for an object that only has `apply_chat_template`, `__call__` and `decode`."""
    prepared = []
    for trace in traces:
        row = trace.to_openai()
        for i in sample_turns(trace, include_abstain=include_abstain):
            sample = EvalSample(trace, i, None)
            try:
                text = tokenizer.apply_chat_template(
                    row["messages"][:i],
                    tools=row.get("tools"),
                    add_generation_prompt=True,
                    tokenize=False,
                )
                ids = tuple(int(t) for t in tokenizer(text, add_special_tokens=False)["input_ids"])
            except Exception as error:  # whatever a foreign tokenizer raises skips this sample
                reason = f"template_error_{type(error).__name__}"
                prepared.append(Prepared(sample, None, skip_reason=reason))
                continue
            prepared.append(_limit(Prepared(sample, ids), max_prompt_tokens))
    return prepared


def _limit(item: Prepared, max_prompt_tokens: int | None) -> Prepared:
    too_long = (
        max_prompt_tokens is not None
        and item.prompt_ids is not None
        and len(item.prompt_ids) > max_prompt_tokens
    )
    return replace(item, skip_reason="prompt_too_long") if too_long else item
