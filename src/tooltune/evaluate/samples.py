"""Evaluation samples: the turns of held-out traces, each with its prompt and ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.render.turns import RenderedTrace
from tooltune.render.types import Turn
from tooltune.toolcalls.truth import GroundTruth
from tooltune.traces.frozen import thaw
from tooltune.traces.load import load_traces, require_rows
from tooltune.traces.types import Trace

HELD_OUT = "held_out"  # the name of the main evaluation set; others are reported apart


@dataclass(frozen=True, slots=True)
class EvalSample:
    """One turn to generate: what stands before it, what is right, and the set it belongs to.

    The first `turn_index` messages of `trace`, and its tools, are the prompt. `turn` is the turn
    rendered for one model: None where nothing was rendered, and then `skip_reason` says why, if
    that is a fault. `own_truth` is the ground truth of a sample that does not take it from the
    trace's message at `turn_index`, which such a trace need not have.
    """

    trace: Trace
    turn_index: int
    turn: Turn | None
    dataset: str = HELD_OUT
    skip_reason: str | None = None
    own_truth: GroundTruth | None = None

    @property
    def sample_id(self) -> str:
        return f"{self.trace.id}/{self.turn_index}"

    @property
    def calls_tools(self) -> bool:
        if self.own_truth is not None:
            return self.own_truth.should_call
        return bool(self.trace.messages[self.turn_index].tool_calls)

    @property
    def gt_calls(self) -> list[dict[str, Any]]:
        """The ground-truth calls, `[{"name", "arguments"}]`; empty if the turn should not call."""
        if self.own_truth is not None:
            return self.own_truth.to_calls()
        return ground_truth_calls(self.trace, self.turn_index)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the request that the data gave (`REQUEST_SETTINGS`)."""
        settings: dict[str, Any] = thaw(self.trace.settings)
        return settings

    @property
    def gt_text(self) -> str:
        """The right turn as the template writes it, else what its message says."""
        if self.turn is not None and self.turn.completion_text:
            return self.turn.completion_text
        message = self.trace.messages[self.turn_index : self.turn_index + 1]
        return (message[0].content or "") if message else ""

    def public(self) -> dict[str, Any]:
        """The dictionary form that `make_agent_chat_eval_samples` describes."""
        row = self.trace.to_openai()
        return {
            "prompt_messages": row["messages"][: self.turn_index],
            "tools": row.get("tools"),
            "gt_tool_calls": self.gt_calls,
            "example_id": self.trace.id,
            "turn_index": self.turn_index,
        }


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


def check_sample_limit(count: int | None) -> None:
    """Raises: UserError for a negative number, which would drop samples from the end."""
    if count is not None and count < 0:
        raise UserError(f"max_eval_samples is {count}", fix="leave it out for all samples")


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
    check_sample_limit(max_eval_samples)
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
        EvalSample(trace, i, None).public()
        for trace in traces
        for i in sample_turns(trace, include_abstain=include_abstain)
    ]
    return samples[:max_eval_samples]
