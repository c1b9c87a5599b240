"""Evaluation samples: the turns of held-out traces, each with its prompt and ground truth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooltune.render.turns import RenderedTrace
from tooltune.render.types import Turn
from tooltune.traces.load import load_traces, require_rows
from tooltune.traces.types import Trace

HELD_OUT = "held_out"  # the name of the main evaluation set; others are reported apart


@dataclass(frozen=True, slots=True)
class EvalSample:
    """One turn to generate: its trace, message index, rendered turn (if any), and set's name.

    `turn` is None where the row could not be rendered; `skip_reason` then says why.
    """

    trace: Trace
    turn_index: int
    turn: Turn | None
    dataset: str = HELD_OUT
    skip_reason: str | None = None

    @property
    def sample_id(self) -> str:
        return f"{self.trace.id}/{self.turn_index}"

    @property
    def calls_tools(self) -> bool:
        return bool(self.trace.messages[self.turn_index].tool_calls)

    @property
    def prompt_id(self) -> str:
        ids = () if self.turn is None else self.turn.prompt_ids
        return hashlib.sha256(repr(ids).encode()).hexdigest()[:16]


def should_abstain(trace: Trace, index: int) -> bool:
    """Whether a turn had tools at hand, was free to call them, and rightly called none.

    Under a `tool_choice` of "none" it was not free, and under one that demands a call it is no
    right answer: neither says anything of a model that decides for itself.
    """
    free = trace.settings.get("tool_choice", "auto") == "auto"
    return bool(trace.tools) and free and not trace.messages[index].tool_calls


def sample_turns(trace: Trace, *, include_abstain: bool) -> list[int]:
    """Message indices of the turns to evaluate. One of weight 0 is context, no ground truth."""
    return [
        i
        for i in trace.turns
        if trace.messages[i].weight > 0
        and (trace.messages[i].tool_calls or (include_abstain and should_abstain(trace, i)))
    ]


def select_samples(
    rendered: Iterable[RenderedTrace],
    *,
    dataset: str = HELD_OUT,
    include_abstain: bool = True,
    max_call_turns: int | None = None,
) -> list[EvalSample]:
    """Samples of rendered traces, whole traces at a time and in their order.

    Stops before the trace that would exceed `max_call_turns` turns that call (of a first trace
    that has more, the first so many are taken); abstain turns are taken from the same traces, at
    most as many as there are call turns, evenly spread.
    """
    calls: list[EvalSample] = []
    abstains: list[EvalSample] = []
    for row in rendered:
        turns = {turn.index: turn for turn in row.turns}
        samples = [
            EvalSample(row.trace, i, turns[i], dataset)
            for i in sample_turns(row.trace, include_abstain=include_abstain)
            if i in turns  # those that fell to seq_length are counted in `row.cut`
        ]
        new = [sample for sample in samples if sample.calls_tools]
        if max_call_turns is not None and len(calls) + len(new) > max_call_turns:
            if calls:
                break
            new = new[:max_call_turns]
        calls += new
        abstains += [sample for sample in samples if not sample.calls_tools]
    return [*calls, *_spread(abstains, max(len(calls), 1))]


def _spread(samples: list[EvalSample], count: int) -> list[EvalSample]:
    if len(samples) <= count:
        return samples
    return [samples[i * len(samples) // count] for i in range(count)]


def ground_truth_calls(trace: Trace, index: int) -> list[dict[str, Any]]:
    """`[{"name", "arguments"}]` of a turn, arguments as a plain object."""
    calls = (call.to_openai()["function"] for call in trace.messages[index].tool_calls)
    return list(calls)


def make_agent_chat_eval_samples(
    *,
    dataset_name: str | None = None,
    path: str | Path | Sequence[str | Path] | None = None,
    split: str = "train",
    revision: str | None = None,
    format: str | None = None,
    limit_dataset_samples: int | None = None,
    max_eval_samples: int | None = None,
    include_abstain: bool = False,
) -> list[dict[str, Any]]:
    """One dictionary per assistant turn that calls tools, in the order of the data.

    Keys: `prompt_messages` (OpenAI messages before the turn), `tools` (OpenAI list or None),
    `gt_tool_calls` (`[{"name", "arguments"}]`, empty for a turn that should not call),
    `example_id` (trace id), `turn_index` (message index). `include_abstain` adds the turns that
    had tools and called none. A leading assistant turn has no prompt and gives no sample.

    Raises: UserError for a source that cannot be read or holds no usable row.
    """
    traces = load_traces(
        path,
        dataset_name=dataset_name,
        split=split,
        revision=revision,
        limit=limit_dataset_samples,
        format=format,
    )
    require_rows(traces)
    samples = [
        trace_sample(trace, i)
        for trace in traces
        for i in sample_turns(trace, include_abstain=include_abstain)
    ]
    return samples[:max_eval_samples]


def trace_sample(trace: Trace, index: int) -> dict[str, Any]:
    """The public dictionary form of one turn of a trace."""
    row = trace.to_openai()
    return {
        "prompt_messages": row["messages"][:index],
        "tools": row.get("tools"),
        "gt_tool_calls": ground_truth_calls(trace, index),
        "example_id": trace.id,
        "turn_index": index,
    }
