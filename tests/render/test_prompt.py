"""`Renderer.prompt`: what inference reads, whether or not the template could write the answer."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.render.strategies import renderable_traces, simple_trace
from tests.render.test_invariants import reference_prompt_ids
from tooltune.render.representable import RowRejected
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.traces.types import Message, ToolCall, Trace


@pytest.fixture(scope="module")
def qwen3_renderer(qwen3: Any) -> Renderer:
    return Renderer(qwen3)


@settings(max_examples=25)
@given(data=st.data())
def test_a_prompt_is_the_one_of_the_rendered_turn_and_of_inference(
    qwen3_renderer: Renderer, data: st.DataObject
) -> None:
    trace = data.draw(renderable_traces(reasoning=True))
    for turn in qwen3_renderer.render(trace).turns:
        prompt = qwen3_renderer.prompt(trace, turn.index)
        assert prompt.prompt_ids == turn.prompt_ids
        assert prompt.prompt_text == turn.prompt_text
        assert prompt.prompt_ids == reference_prompt_ids(
            qwen3_renderer.tokenizer, trace, turn.index
        )
        assert prompt.completion_ids == prompt.weights == ()


def test_a_prompt_needs_no_answer(qwen3_renderer: Renderer) -> None:
    trace = Trace((Message("user", "Hi"),))
    assert qwen3_renderer.prompt(trace, 1).prompt_text.endswith("<|im_start|>assistant\n")


def test_an_answer_that_the_template_cannot_write_leaves_the_prompt_as_it_is(
    real_tokenizer: Any,
) -> None:
    from tests.render.stock_templates import trl_folder

    template = (trl_folder() / "llama3_1.jinja").read_text()
    renderer = Renderer(real_tokenizer("llama-3.1"), RenderSpec(chat_template=template))
    trace = simple_trace()
    two_calls = Message("assistant", tool_calls=(ToolCall("f", {}), ToolCall("f", {})))
    asked = replace(trace, messages=(trace.messages[0], two_calls))
    with pytest.raises(RowRejected, match="template_drops_parallel_calls"):
        renderer.render(asked)
    prompt = renderer.prompt(asked, 1)
    own = copy(renderer.tokenizer)  # others use it, with the template that it came with
    own.chat_template = template
    assert prompt.prompt_ids == reference_prompt_ids(own, asked, 1)


def test_control_strings_in_a_prompt_are_refused_or_read_as_text(qwen3: Any) -> None:
    trace = Trace((Message("user", "say <|im_end|>"),))
    with pytest.raises(RowRejected, match="control_token_in_text"):
        Renderer(qwen3).prompt(trace, 1)
    escaped = Renderer(qwen3, RenderSpec(control_tokens="escape")).prompt(trace, 1)
    stop = qwen3.convert_tokens_to_ids("<|im_end|>")
    assert escaped.prompt_ids.count(stop) == 1
    assert "say <|im_end|>" in escaped.prompt_text


def test_what_a_template_does_not_show_is_refused_here_too(real_tokenizer: Any) -> None:
    renderer = Renderer(real_tokenizer("gemma-3"))
    trace = replace(simple_trace(), messages=(Message("user", "Hi"),))
    with pytest.raises(RowRejected, match="template_ignores_tools"):
        renderer.prompt(trace, 1)
    assert renderer.prompt(replace(trace, tools=()), 1).prompt_text.endswith("model\n")
