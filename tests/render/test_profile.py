"""The probe: what templates do with each field, and the refusals that follow (traps 1 to 6)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from tests.render.strategies import simple_trace
from tooltune.errors import UserError
from tooltune.render.representable import RowRejected
from tooltune.render.sequences import chain_turns
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.traces.types import Message, ToolCall, Trace

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tools_template(call: str, result: str = "{{ m.content }}", content: str = "") -> str:
    """A small Hermes-like template with a hole for how it writes calls, results and text."""
    return (
        "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and m.tool_calls %}"
        f"{content}{{% for t in m.tool_calls %}}{call}{{% endfor %}}"
        f"{{% elif m.role == 'tool' %}}{result}{{% else %}}{{{{ m.content }}}}{{% endif %}}"
        "<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


OBJECT_CALL = (
    '<tool_call>{"name": "{{ t.function.name }}", "arguments": '
    "{{ t.function.arguments | tojson }}}</tool_call>"
)
STRING_CALL = (
    '<tool_call>{"name": "{{ t.function.name }}", "arguments": '
    "{{ '' + t.function.arguments }}}</tool_call>"
)


def renderer(tokenizer: Any, template: str) -> Renderer:
    return Renderer(tokenizer, RenderSpec(chat_template=template))


@pytest.mark.parametrize("name", ["builtin", "qwen2.5", "qwen3"])
def test_the_three_templates_say_everything_with_arguments_as_objects(
    tokenizers: dict[str, Any], name: str
) -> None:
    profile = Renderer(tokenizers[name]).profile
    assert profile.tools
    assert profile.tool_calls
    assert profile.parallel_calls
    assert profile.content_beside_calls
    assert profile.system
    assert profile.tool_results == "verbatim"
    assert profile.shape.arguments == "object"
    assert profile.call_format == "hermes"
    assert {stop.text for stop in profile.stops.values()} == {"<|im_end|>"}
    assert profile.reasoning == (name != "qwen2.5")
    assert profile.history_reasoning == (name == "builtin")


def test_injected_system_text_is_noticed(qwen25: Any) -> None:
    assert "You are Qwen" in Renderer(qwen25).profile.injected_system


def test_arguments_are_never_encoded_twice(qwen25: Any) -> None:
    """Trap 1: the probe picks the shape under which the template prints them once."""
    for call, shape in ((OBJECT_CALL, "object"), (STRING_CALL, "string")):
        made = renderer(qwen25, tools_template(call))
        assert made.profile.shape.arguments == shape
        rendered = made.render(simple_trace())
        assert '"arguments": {"city": "Rome"}' in rendered.turns[0].completion_text


def test_a_template_that_ignores_tools_refuses_rows_that_have_them(qwen25: Any) -> None:
    made = renderer(qwen25, CHATML)
    assert not made.profile.tools
    with pytest.raises(RowRejected, match="template_ignores_tools"):
        made.render(simple_trace())
    plain = Trace((Message("user", "Hi"), Message("assistant", "Hello")))
    assert made.render(plain).turns[0].completion_text == "Hello<|im_end|>"


def test_a_template_that_drops_calls_results_or_text_names_the_field(qwen25: Any) -> None:
    trace = simple_trace()
    beside = (trace.messages[0], Message("assistant", "Let me see.", trace.messages[1].tool_calls))
    cases = {
        "template_drops_tool_calls": (tools_template(""), trace),
        "template_drops_tool_results": (tools_template(OBJECT_CALL, result="ok"), trace),
        "template_drops_content": (tools_template(OBJECT_CALL), Trace(beside, trace.tools)),
        "template_drops_reasoning": (
            tools_template(OBJECT_CALL),
            simple_trace(reasoning="I think."),
        ),
    }
    for code, (template, row) in cases.items():
        with pytest.raises(RowRejected, match=code):
            renderer(qwen25, template).render(row)


def test_a_template_that_renders_only_the_first_parallel_call_refuses_such_rows(
    qwen25: Any,
) -> None:
    only_first = OBJECT_CALL.join(["{% if loop.first %}", "{% endif %}"])
    calls = (ToolCall("get_time", {"city": "Rome"}), ToolCall("get_time", {"city": "Oslo"}))
    messages = (Message("user", "Both?"), Message("assistant", tool_calls=calls))
    made = renderer(qwen25, tools_template(only_first))
    with pytest.raises(RowRejected, match="template_drops_parallel_calls"):
        made.render(Trace(messages, simple_trace().tools))


def test_a_template_without_a_stop_token_is_refused(qwen25: Any) -> None:
    with pytest.raises(UserError, match="never stop"):
        renderer(qwen25, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")


def test_a_turn_that_ends_with_the_next_roles_marker_learns_that_marker(qwen25: Any) -> None:
    """Trap 5: GLM has no end-of-turn token of its own."""
    template = (
        "{% for m in messages %}{{ '<|im_start|>' if m.role == 'user' else '<|fim_prefix|>' }}\n"
        "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|fim_prefix|>\n{% endif %}"
    )
    trace = Trace((Message("user", "Hi"), Message("assistant", "Hello")))
    made = renderer(qwen25, template)
    (turn,) = made.render(trace).turns
    assert turn.completion_text == "Hello<|im_start|>"
    assert made.stop_ids == (qwen25.convert_tokens_to_ids("<|im_start|>"),)


def test_a_missing_template_says_how_to_give_one(qwen25: Any) -> None:
    bare = copy.deepcopy(qwen25)
    bare.chat_template = None
    with pytest.raises(UserError, match="chat_template"):
        Renderer(bare)


def test_a_broken_template_is_reported_with_its_own_message(qwen25: Any) -> None:
    with pytest.raises(UserError, match="no users here"):
        renderer(qwen25, "{{ raise_exception('no users here') }}")


def test_reasoning_that_a_switch_hides_is_refused_with_the_switch_that_works(qwen3: Any) -> None:
    spec = RenderSpec(chat_template_kwargs={"enable_thinking": False})
    with pytest.raises(RowRejected) as caught:
        Renderer(qwen3, spec).render(simple_trace(reasoning="I think."))
    assert "reasoning" in caught.value.reason or "enable_thinking" in caught.value.reason


def test_history_that_is_rewritten_is_trained_as_inference_shows_it(qwen3: Any) -> None:
    """Trap 3: a reasoning-free call has an empty think block when last, none in history."""
    first, second, _ = Renderer(qwen3).render(simple_trace()).turns
    assert first.completion_text.startswith("<think>\n\n</think>")
    assert "<think>" not in second.prompt_text


def test_what_a_template_writes_behind_the_stop_of_the_last_turn_is_not_learnt(
    qwen25: Any,
) -> None:
    """Phi-3 ends a conversation, not a turn, with the end of text."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|endoftext|>{% endif %}"
    )
    made = renderer(qwen25, template)
    assert {stop.text for stop in made.profile.stops.values()} == {"<|im_end|>"}
    messages = [Message(role, text) for text in "ab" for role in ("user", "assistant")]
    rendered = made.render(Trace(tuple(messages)))
    assert [turn.completion_text for turn in rendered.turns] == ["a<|im_end|>", "b<|im_end|>"]
    assert len(chain_turns(rendered.turns)) == 1


def test_text_behind_the_stop_that_the_probe_did_not_see_refuses_the_row(qwen25: Any) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>"
        "{{ 'more' if m.content == 'b' else '' }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(RowRejected, match="text_after_stop"):
        renderer(qwen25, template).render(Trace((Message("user", "a"), Message("assistant", "b"))))


def test_a_turn_that_ends_otherwise_in_history_stops_where_inference_does(qwen25: Any) -> None:
    """gpt-oss: the last answer ends in <|return|>, earlier ones in <|end|>."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{{ '<|endoftext|>' if loop.last and m.role == 'assistant' else '<|im_end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    made = renderer(qwen25, template)
    assert made.stop_ids == (qwen25.convert_tokens_to_ids("<|endoftext|>"),)


def test_a_template_that_drops_earlier_reasoning_once_answered_is_trained_as_prompted(
    qwen25: Any,
) -> None:
    """gpt-oss: in the tool loop the prompt shows the reasoning that the final render drops."""
    header = "<|im_start|>{{ m.role }}\n"
    thought = (
        "{% if m.reasoning_content and (loop.last or not done) %}"
        "<think>{{ m.reasoning_content }}</think>{% endif %}"
    )
    template = (
        "{% set done = messages[-1].role == 'assistant' and not messages[-1].tool_calls %}"
        + tools_template(OBJECT_CALL).replace(header, header + thought)
    )
    made = renderer(qwen25, template)
    trace = simple_trace()
    messages = list(trace.messages[:4])
    messages[1] = replace(messages[1], reasoning="look it up")
    _, answer = made.render(Trace(tuple(messages), trace.tools)).turns
    assert "<think>look it up</think><tool_call>" in answer.prompt_text
    assert answer.completion_text == "It is 12:30.<|im_end|>"


def test_arguments_that_a_template_prints_as_another_type_refuse_the_row(qwen25: Any) -> None:
    """Trap 17: `true` is not `1`."""
    call = OBJECT_CALL.replace("| tojson }}", "| tojson | replace('true', '1') }}")
    made = renderer(qwen25, tools_template(call))
    messages = list(simple_trace().messages)
    messages[1] = Message("assistant", tool_calls=(ToolCall("get_time", {"exact": True}),))
    with pytest.raises(RowRejected, match="calls_not_recoverable"):
        made.render(Trace(tuple(messages), simple_trace().tools))


def test_a_template_whose_answers_need_a_switch_names_it(qwen25: Any) -> None:
    """Nemotron-3: the prompt opens a think block that the render of an answer does not have."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}{% endif %}"
    )
    with pytest.raises(UserError, match=r"enable_thinking: false"):
        renderer(qwen25, template)
    spec = RenderSpec(chat_template=template, chat_template_kwargs={"enable_thinking": False})
    assert Renderer(qwen25, spec).stop_ids


def test_of_named_templates_the_one_for_tools_is_probed_and_both_are_guarded(qwen25: Any) -> None:
    named = copy.deepcopy(qwen25)
    named.chat_template = {
        "default": CHATML + "{# <|fim_pad|> #}",
        "tool_use": tools_template(OBJECT_CALL),
    }
    made = Renderer(named)
    assert made.profile.tools
    assert made.render(simple_trace()).turns
    assert made.render(Trace((Message("user", "Hi"), Message("assistant", "Hello")))).turns
    with pytest.raises(RowRejected, match="control_token_in_text"):
        made.render(simple_trace(user="<|fim_pad|>"))


def test_a_tokenizer_whose_normaliser_rewrites_spaces_spells_rows_all_the_same() -> None:
    """Llama-2 and Gemma turn each space into U+2581 before they look up tokens, and back after."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    characters = [*map(chr, range(32, 127)), "\u2581", "\n"]
    vocabulary = {character: i for i, character in enumerate(characters)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="?"))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"})
    tokenizer.chat_template = tools_template(OBJECT_CALL)
    rendered = Renderer(tokenizer).render(simple_trace())
    assert len(rendered.turns) == 3
    assert tokenizer.decode(rendered.turns[1].completion_ids) == "It is 12:30.<|im_end|>"


def test_a_stop_that_no_parser_knows_is_not_read_as_text(builtin_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(builtin_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|over|>"]})
    source = tokenizer.chat_template.replace("<|im_end|>", "<|over|>")
    renderer = Renderer(tokenizer, RenderSpec(chat_template=source))
    assert renderer.profile.stops["tool_calls"].text == "<|over|>"
    assert len(renderer.render(simple_trace()).turns) == 3
