"""Which turns are evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.render.strategies import simple_trace
from tooltune.errors import UserError
from tooltune.evaluate.evaluator import ToolCallAccuracyEvaluator
from tooltune.evaluate.prepare import prepare_samples, render_samples
from tooltune.evaluate.samples import make_agent_chat_eval_samples, sample_turns, select_samples
from tooltune.render.turns import RenderedTrace, Renderer
from tooltune.traces.types import Message, Tool, Trace


def several_calls(n: int) -> Trace:
    trace = simple_trace(user=f"{n} times, please")
    return replace(trace, messages=(trace.messages[0], *trace.messages[1:3] * n, trace.messages[3]))


@pytest.fixture(scope="module")
def rows(builtin_tokenizer: Any) -> list[RenderedTrace]:
    renderer = Renderer(builtin_tokenizer)
    return [renderer.render(several_calls(n)) for n in (3, 2, 1)]


def calls(rows: list[RenderedTrace], limit: int | None) -> list[str]:
    samples = select_samples(rows, max_call_turns=limit)
    return [sample.trace.id for sample in samples if sample.calls_tools]


def test_a_cap_takes_whole_traces_in_their_order(rows: list[RenderedTrace]) -> None:
    first, second, third = (row.trace.id for row in rows)
    assert calls(rows, None) == calls(rows, 6) == [first] * 3 + [second] * 2 + [third]
    assert calls(rows, 5) == [first] * 3 + [second] * 2
    assert calls(rows, 4) == [first] * 3


def test_a_cap_below_the_first_trace_still_leaves_something_to_evaluate(
    rows: list[RenderedTrace],
) -> None:
    assert calls(rows, 2) == [rows[0].trace.id] * 2


def test_abstain_turns_come_from_the_same_traces_and_are_no_more_than_the_calls(
    rows: list[RenderedTrace],
) -> None:
    samples = select_samples(rows, max_call_turns=3)
    assert [s.turn_index for s in samples if not s.calls_tools] == [7]
    assert len(select_samples(rows, include_abstain=False)) == 6


def test_a_turn_of_weight_zero_is_no_ground_truth() -> None:
    trace = several_calls(2)
    messages = list(trace.messages)
    messages[1] = replace(messages[1], weight=0.0)
    changed = replace(trace, messages=tuple(messages))
    assert sample_turns(trace, include_abstain=True) == [1, 3, 5]
    assert sample_turns(changed, include_abstain=True) == [3, 5]


def test_what_is_generated_from_is_the_tokenizers_own_prompt_and_the_draft_its_answer(
    builtin_tokenizer: Any,
) -> None:
    """Invariant 1, on the side of evaluation."""
    trace = several_calls(2)
    samples = render_samples([trace], Renderer(builtin_tokenizer), include_abstain=True)
    row = trace.to_openai()
    for item in prepare_samples(samples, max_prompt_tokens=None):
        text = builtin_tokenizer.apply_chat_template(
            row["messages"][: item.sample.turn_index],
            tools=row["tools"],
            add_generation_prompt=True,
            tokenize=False,
        )
        expected = builtin_tokenizer(text, add_special_tokens=False)["input_ids"]
        assert list(item.prompt_ids or ()) == expected
        assert builtin_tokenizer.decode(item.draft_ids).endswith("<|im_end|>")


@pytest.mark.parametrize("choice", ["none", "required", {"type": "function", "function": {}}])
def test_a_turn_that_was_not_free_to_call_is_no_test_of_abstaining(choice: Any) -> None:
    free = Trace(
        (Message("user", "Hello."), Message("assistant", "Hi.")),
        (Tool({"name": "get_time"}),),
    )
    forced = replace(free, settings={"tool_choice": choice}, id="")
    assert sample_turns(free, include_abstain=True) == [1]
    assert sample_turns(replace(free, settings={"tool_choice": "auto"}), include_abstain=True) == [
        1
    ]
    assert sample_turns(forced, include_abstain=True) == []


def test_a_negative_limit_is_refused_instead_of_dropping_the_last_samples(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_eval_samples is -1"):
        make_agent_chat_eval_samples(path=tmp_path / "x.jsonl", max_eval_samples=-1)
    with pytest.raises(UserError, match="max_eval_samples is -1"):
        ToolCallAccuracyEvaluator(path=tmp_path / "x.jsonl", max_eval_samples=-1)
