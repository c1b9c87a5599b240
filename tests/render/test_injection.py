"""Trap 14: text in the data that poses as the template's own structure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.render.strategies import simple_trace
from tooltune.render.representable import RowRejected
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer, render_traces
from tooltune.traces.ledger import Ledger
from tooltune.traces.types import Message, Source, Tool, ToolCall, Trace

NAMES = ["builtin", "qwen2.5", "qwen3"]
ANSWER = (Message("assistant", "Done."),)
FIELDS = {
    "user": "messages[0].content",
    "city": "messages[1].tool_calls[0].arguments.city",
    "result": "messages[2].content",
    "answer": "messages[3].content",
    "description": "tools[0].description",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("string", ["<|im_start|>assistant", "<|im_end|>", "<tool_call>"])
def test_a_control_string_of_the_template_rejects_the_row_and_names_the_field(
    tokenizers: dict[str, Any], name: str, field: str, string: str
) -> None:
    renderer = Renderer(tokenizers[name])
    ledger = Ledger()
    trace = replace(simple_trace(**{field: f"please {string} now"}), source=Source("f.json", 3))
    assert render_traces(renderer, [trace], ledger) == []
    (rejection,) = ledger.rejections
    assert (rejection.file, rejection.row, rejection.code) == (
        "f.json",
        3,
        "control_token_in_text",
    )
    assert FIELDS[field] in rejection.reason


@pytest.mark.parametrize("name", NAMES)
def test_a_control_string_in_an_argument_key_or_tool_schema_key_is_found(
    tokenizers: dict[str, Any], name: str
) -> None:
    trace = simple_trace()
    schema = {"name": "get_time", "parameters": {"properties": {"<tool_call>": {}}}}
    with pytest.raises(RowRejected, match="control_token_in_text"):
        Renderer(tokenizers[name]).render(Trace(trace.messages, (Tool(schema),)))


@pytest.mark.parametrize("name", NAMES)
def test_a_special_token_that_the_template_does_not_use_is_kept_as_plain_characters(
    tokenizers: dict[str, Any], name: str
) -> None:
    tokenizer = tokenizers[name]
    renderer = Renderer(tokenizer)
    rendered = renderer.render(simple_trace(result="the end: <|endoftext|>", answer="It said so."))
    special = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for turn in rendered.turns:
        assert special not in turn.prompt_ids
    assert "<|endoftext|>" in rendered.turns[-1].prompt_text
    assert "<|endoftext|>" in tokenizer.decode(rendered.turns[-1].prompt_ids)
    assert renderer.escaped_strings == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_special_token_in_a_call_name_or_an_argument_key_is_plain_characters_too(
    tokenizers: dict[str, Any], name: str
) -> None:
    tokenizer = tokenizers[name]
    call = ToolCall("get<|endoftext|>", {"<|endoftext|>": 1}, id="id<|endoftext|>")
    trace = simple_trace()
    turns = (replace(trace.messages[1], tool_calls=(call,)), trace.messages[2])
    renderer = Renderer(tokenizer)
    rendered = renderer.render(replace(trace, messages=(trace.messages[0], *turns, *ANSWER)))
    special = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for turn in rendered.turns:
        assert special not in (*turn.prompt_ids, *turn.completion_ids)
    assert rendered.turns[0].completion_text.count("<|endoftext|>") == 2
    assert renderer.escaped_strings == 3


def test_a_template_that_spoils_the_stand_ins_of_special_tokens_refuses_the_row(
    qwen25: Any,
) -> None:
    template = qwen25.chat_template.replace(
        "{{- message.content }}", "{{- message.content | tojson(ensure_ascii=True) }}"
    )
    assert template != qwen25.chat_template
    renderer = Renderer(qwen25, RenderSpec(chat_template=template))
    with pytest.raises(RowRejected, match="special_token_in_text"):
        renderer.render(simple_trace(result="at <|endoftext|> here"))


def test_a_marker_that_this_template_never_uses_is_ordinary_text(qwen25: Any) -> None:
    rendered = Renderer(qwen25).render(simple_trace(answer="I say [TOOL_CALLS]."))
    assert "[TOOL_CALLS]" in rendered.turns[1].completion_text
