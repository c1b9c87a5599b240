"""Samples to requests: prompt ids (and the ground truth as a draft) for one model's tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tooltune.evaluate.samples import EvalSample, sample_turns
from tooltune.render.representable import RowRejected
from tooltune.render.turns import Renderer
from tooltune.traces.types import Trace


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sample ready to generate. `prompt_ids` is None where it is skipped, for `skip_reason`."""

    sample: EvalSample
    prompt_ids: tuple[int, ...] | None
    draft_ids: tuple[int, ...] = ()
    skip_reason: str | None = None


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
    """Every turn to evaluate of every trace; those of a refused row carry its code."""
    samples = []
    for trace in traces:
        indices = sample_turns(trace, include_abstain=include_abstain)
        try:
            row = renderer.render(trace)
        except RowRejected as rejection:
            samples += [EvalSample(trace, i, None, skip_reason=rejection.code) for i in indices]
            continue
        turns = {turn.index: turn for turn in row.turns}
        kept = sample_turns(row.trace, include_abstain=include_abstain)  # what flags left of them
        samples += [
            EvalSample(row.trace, i, turns.get(i), skip_reason=None if i in turns else "overlong")
            for i in kept
        ]
    return samples


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
    return replace(item, prompt_ids=None, skip_reason="prompt_too_long") if too_long else item
