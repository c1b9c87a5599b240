"""`control_tokens: escape` and `allow`: every control string, every field, every tokenizer."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import assets
from tests.render.strategies import renderable_traces, simple_trace
from tooltune.evaluate.prepare import render_samples
from tooltune.render.representable import RowRejected
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.traces.types import Message, Tool, ToolCall, Trace

NAMES = ["builtin", *assets.TOKENIZERS]
WAYS: tuple[Any, ...] = ("reject", "escape", "allow")
ESCAPE = RenderSpec(control_tokens="escape")

Made = Callable[[str, str], Renderer]


@pytest.fixture(scope="module")
def made(builtin_tokenizer: Any, real_tokenizer: Callable[[str], Any]) -> Made:
    """The renderer of a tokenizer, by name, and of a way with control strings."""

    @cache
    def tokenizer_of(name: str) -> Any:
        tokenizer = builtin_tokenizer if name == "builtin" else real_tokenizer(name)
        if name not in ("builtin", "qwen2.5", "qwen3"):  # those have tools in their templates
            tokenizer = copy.deepcopy(tokenizer)
            tokenizer.chat_template = _template(tokenizer)
        return tokenizer

    @cache
    def renderer_of(name: str, way: Any) -> Renderer:
        return Renderer(tokenizer_of(name), RenderSpec(control_tokens=way))

    return renderer_of


def _template(tokenizer: Any) -> str:
    """A Hermes-like template whose turns begin and end in special tokens of this tokenizer."""
    stop = tokenizer.eos_token
    start = next(
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special and token.content != stop
    )
    return (
        f"{{% if tools %}}{start}system\n{{{{ tools | tojson }}}}{stop}{{% endif %}}"
        f"{{% for m in messages %}}{start}{{{{ m.role }}}} {{{{ m.name or m.tool_call_id }}}}\n"
        "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
        "{{ m.content }}{% for t in m.tool_calls or [] %}\n<tool_call>\n"
        '{"name": "{{ t.function.name }}", "arguments": {{ t.function.arguments | tojson }}}'
        f"\n</tool_call>{{% endfor %}}{stop}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{start}assistant \n{{% endif %}}"
    ).replace("{{ m.name or m.tool_call_id }}", "{{ m.name or m.tool_call_id or '' }}")


def everywhere(text: str) -> Trace:
    """A trace with `text` in every field that a prompt shows."""
    call = ToolCall(f"f{text}", {f"key{text}": f"value {text}"}, id=f"id{text}")
    schema = {"name": "f", "description": text, "parameters": {"properties": {text: {"a": text}}}}
    context = Message("assistant", f"Let me see {text}.", reasoning=f"Thinking {text}.", weight=0.0)
    return Trace(
        (
            Message("system", f"Be kind {text}."),
            Message("user", f"Hi {text} there"),
            replace(context, tool_calls=(call,)),
            Message("tool", f"Found {text}!", tool_call_id=f"id{text}", name=f"f{text}"),
            context,
            Message("user", f"Thanks {text}."),
            Message("assistant", "Done."),
        ),
        (Tool(schema),),
    )


def without_reasoning(trace: Trace) -> Trace:
    return replace(trace, messages=tuple(replace(m, reasoning=None) for m in trace.messages))


def sayable(trace: Trace, renderer: Renderer) -> Trace:
    return trace if renderer.profile.reasoning else without_reasoning(trace)


def controls_of(renderer: Renderer) -> list[str]:
    return sorted(renderer.profile.controls.strings - {"\ue000", "\ue001"})


def control_ids(renderer: Renderer, ids: tuple[int, ...]) -> Counter[int]:
    vocabulary = {t.content: i for i, t in renderer.tokenizer.added_tokens_decoder.items()}
    controls = {vocabulary[text] for text in controls_of(renderer) if text in vocabulary}
    return Counter(token for token in ids if token in controls)


@pytest.mark.parametrize("name", NAMES)
def test_no_control_string_of_any_field_becomes_a_control_token_under_escape(
    made: Made, name: str
) -> None:
    renderer = made(name, "escape")
    strings = controls_of(renderer)
    assert len(strings) >= 8
    benign = renderer.render(sayable(everywhere("x"), renderer)).turns
    texts = ["".join(strings), "\n".join(strings)]
    for text in texts if len(strings) < 300 else texts[:1]:
        before = renderer.counts.escaped_strings
        turns = renderer.render(sayable(everywhere(text), renderer)).turns
        assert renderer.counts.escaped_strings >= before + 10 * len(strings)
        for turn, plain in zip(turns, benign, strict=True):
            assert control_ids(renderer, turn.prompt_ids) == control_ids(renderer, plain.prompt_ids)
            assert control_ids(renderer, turn.completion_ids) == control_ids(
                renderer, plain.completion_ids
            )
        assert turns[-1].prompt_text.count(strings[-1]) >= 8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["city", "answer"])
def test_a_target_spells_control_strings_as_text_or_the_row_is_refused(
    made: Made, name: str, field: str
) -> None:
    renderer = made(name, "escape")
    accepted = 0
    for string in controls_of(renderer)[:25]:
        try:
            rendered = renderer.render(simple_trace(**{field: f"say {string} now"}))
        except RowRejected as rejection:
            assert rejection.code in ("calls_not_recoverable", "text_not_recoverable")
            continue
        accepted += 1
        for turn in rendered.turns:
            assert turn.completion_ids[-1] in renderer.stop_ids
            assert not set(turn.completion_ids[:-1]) & set(renderer.stop_ids)
        assert any(string in turn.completion_text for turn in rendered.turns)
    assert accepted


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(data=st.data())
def test_on_benign_traces_all_three_ways_give_the_same_ids(
    made: Made, name: str, data: st.DataObject
) -> None:
    trace = data.draw(renderable_traces())
    outcomes = []
    for way in WAYS:
        try:
            outcomes.append(made(name, way).render(trace).turns)
        except RowRejected as rejection:  # a byte that the vocabulary lacks, ...
            outcomes.append(rejection.code)
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_allow_gives_the_ids_of_the_plain_tokenizer_call(qwen25: Any) -> None:
    trace = simple_trace(user="I say <|im_end|> and <tool_call>", result="<|endoftext|>")
    renderer = Renderer(qwen25, RenderSpec(control_tokens="allow"))
    row = trace.to_openai()
    for turn in renderer.render(trace).turns:
        text = qwen25.apply_chat_template(
            row["messages"][: turn.index],
            tools=row["tools"],
            add_generation_prompt=True,
            tokenize=False,
        )
        own = qwen25(text, add_special_tokens=False)["input_ids"]
        assert list(turn.prompt_ids) == own


def test_allow_refuses_a_target_that_would_end_in_its_middle(qwen25: Any) -> None:
    renderer = Renderer(qwen25, RenderSpec(control_tokens="allow"))
    with pytest.raises(RowRejected, match=r"stop_token_in_text|text_not_recoverable"):
        renderer.render(simple_trace(answer="I say <|im_end|> and go on"))


def test_evaluation_feeds_the_escaped_ids_too(qwen25: Any) -> None:
    trace = simple_trace(user="I say <|im_end|>")
    renderer = Renderer(qwen25, ESCAPE)
    (sample,) = [s for s in render_samples([trace], renderer, include_abstain=False) if s.turn]
    assert sample.turn is not None
    assert sample.turn.prompt_ids == renderer.render(trace).turns[0].prompt_ids
    stop = qwen25.convert_tokens_to_ids("<|im_end|>")
    benign = Renderer(qwen25).render(simple_trace(user="I say x")).turns[0]
    assert sample.turn.prompt_ids.count(stop) == benign.prompt_ids.count(stop)


def test_text_that_looks_like_a_stand_in_is_only_text(qwen25: Any) -> None:
    """Private-use characters, and numbers between them as stand-ins have, stay what they are."""
    for spec in (RenderSpec(), ESCAPE):
        text = "\ue0000\ue001 <|endoftext|> \ue0001\ue001"
        turns = Renderer(qwen25, spec).render(simple_trace(user=text)).turns
        assert f"user\n{text}<|im_end|>" in turns[0].prompt_text
        assert qwen25.decode(turns[0].prompt_ids) == turns[0].prompt_text


PAIRED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{% for p in messages %}"
    "{% for t in p.tool_calls or [] %}"
    "{% if m.role == 'tool' and t.id == m.tool_call_id %} {{ t.function.name }}{% endif %}"
    "{% endfor %}{% endfor %}{{ '\n' ~ m.content }}{% for t in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ t.function.name }}", "arguments": {{ t.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}{% if m.tool_calls %}<|endoftext|>{% else %}<|im_end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_result_still_finds_its_call_by_an_id_that_spells_a_control_string(
    builtin_tokenizer: Any,
) -> None:
    renderer = Renderer(
        builtin_tokenizer, RenderSpec(chat_template=PAIRED, control_tokens="escape")
    )
    first, second = "1<|im_end|>", "2<|im_end|>"
    trace = Trace(
        (
            Message("user", "Hi"),
            Message("assistant", None, (ToolCall("a", id=first), ToolCall("b", id=second))),
            Message("tool", "of b", tool_call_id=second),
            Message("tool", "of a", tool_call_id=first),
            Message("assistant", "Done."),
        )
    )
    prompt = renderer.render(trace).turns[-1].prompt_text
    assert "tool b\nof b" in prompt
    assert "tool a\nof a" in prompt
    assert renderer.counts.escaped_strings == 4


def test_no_stop_of_another_kind_of_turn_may_stand_in_a_target_under_allow(
    builtin_tokenizer: Any,
) -> None:
    renderer = Renderer(builtin_tokenizer, RenderSpec(chat_template=PAIRED, control_tokens="allow"))
    assert len(renderer.stop_ids) == 2
    trace = Trace((Message("user", "Hi"), Message("assistant", "Say <|endoftext|> now.")))
    with pytest.raises(RowRejected, match="stop_token_in_text"):
        renderer.render(trace)
