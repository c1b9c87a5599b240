"""What is asked where a template cannot write the right answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.render.stock_templates import trl_folder
from tests.render.strategies import simple_trace
from tooltune.evaluate.prepare import prepare_samples, render_prompts, render_samples
from tooltune.evaluate.samples import EvalSample
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.toolcalls.truth import NO_CALL, GroundTruth
from tooltune.traces.types import Message, ToolCall, Trace

CALLS: list[Any] = [{"name": "get_time", "arguments": {"city": city}} for city in ("Rome", "Oslo")]


@pytest.fixture(scope="module")
def one_call_a_turn(real_tokenizer: Callable[[str], Any]) -> Renderer:
    """Llama-3.1, whose template raises for two calls in a turn."""
    template = (trl_folder() / "llama3_1.jinja").read_text()
    return Renderer(real_tokenizer("llama-3.1"), RenderSpec(chat_template=template))


@pytest.fixture
def parallel() -> Trace:
    trace = simple_trace()
    calls = tuple(ToolCall(call["name"], call["arguments"]) for call in CALLS)
    return replace(trace, messages=(trace.messages[0], Message("assistant", tool_calls=calls)))


def test_a_turn_whose_answer_the_template_cannot_write_is_asked_without_a_draft(
    one_call_a_turn: Renderer, parallel: Trace
) -> None:
    (sample,) = render_samples([parallel], one_call_a_turn, include_abstain=True)
    (item,) = prepare_samples([sample], max_prompt_tokens=None)
    assert sample.skip_reason is None
    assert item.prompt_ids == one_call_a_turn.prompt(parallel, 1).prompt_ids
    assert item.draft_ids == ()


def test_a_turn_whose_prompt_cannot_be_written_says_why(real_tokenizer: Any) -> None:
    blind = Renderer(real_tokenizer("gemma-3"))
    samples = render_samples([simple_trace()], blind, include_abstain=True)
    assert {(sample.turn, sample.skip_reason) for sample in samples} == {
        (None, "template_ignores_tools")
    }


def test_a_sample_of_a_suite_has_its_right_calls_as_the_draft(
    one_call_a_turn: Renderer, parallel: Trace
) -> None:
    asked = replace(parallel, messages=parallel.messages[:1])
    plain = EvalSample(asked, 1, None, "suite")
    one, two, none = render_prompts(
        [
            replace(plain, own_truth=GroundTruth.of(CALLS[:1])),
            replace(plain, own_truth=GroundTruth.of(CALLS)),
            replace(plain, own_truth=NO_CALL),
        ],
        one_call_a_turn,
    )
    assert one.turn is not None
    assert "get_time" in one.turn.completion_text
    for other in (two, none):
        assert other.turn is not None
        assert other.turn.prompt_ids == one.turn.prompt_ids
        assert other.turn.completion_ids == ()
