"""Loss weights by part, by message and by trace, carried by the targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from tests.render.strategies import renderable_traces, simple_trace
from tooltune.errors import UserError
from tooltune.render.explain import explain
from tooltune.render.forest import merge_turns
from tooltune.render.parts import Gaps, token_parts
from tooltune.render.representable import RowRejected
from tooltune.render.spec import LossWeights, RenderSpec
from tooltune.render.turns import Renderer
from tooltune.render.types import Turn
from tooltune.traces.types import Message, Trace

POWERS = LossWeights(tool_call=2.0, text=0.5, reasoning=4.0)


def beside(reasoning: str | None = None, content: str = "think") -> Trace:
    """A call with text beside it whose words stand in markers and in the call as well."""
    trace = simple_trace(reasoning=reasoning, city=content)
    messages = list(trace.messages)
    messages[1] = replace(messages[1], content=content)
    return replace(trace, messages=tuple(messages))


def texts_by_weight(tokenizer: Any, turn: Turn) -> dict[float, str]:
    pairs = list(zip(turn.completion_ids, turn.weights, strict=True))
    return {
        weight: tokenizer.decode([token for token, w in pairs if w == weight])
        for weight in dict.fromkeys(turn.weights)
    }


@pytest.fixture(scope="module")
def plain(builtin_tokenizer: Any) -> Renderer:
    return Renderer(builtin_tokenizer)


@pytest.fixture(scope="module")
def weighted(builtin_tokenizer: Any) -> Renderer:
    return Renderer(builtin_tokenizer, RenderSpec(loss_weights=POWERS), mark_parts=True)


def test_each_part_of_a_turn_weighs_what_the_specification_says(weighted: Renderer) -> None:
    """Words that also stand in the markers, in the call and in each other are told apart."""
    call, answer, _ = weighted.render(beside("think hard", "think")).turns
    told = texts_by_weight(weighted.tokenizer, call)
    assert told[4.0].strip() == "think hard"
    assert told[0.5].strip() == "think"
    assert " ".join(told[2.0].split()) == (
        '<think> </think> <tool_call> {"name": "get_time", "arguments": {"city": "think"}} '
        "</tool_call><|im_end|>"
    )
    told = texts_by_weight(weighted.tokenizer, answer)
    assert told[4.0].strip() == "think hard"
    assert " ".join(told[0.5].split()) == "<think> </think> It is 12:30.<|im_end|>"


@settings(max_examples=15)
@given(trace=renderable_traces(reasoning=True))
def test_parts_cover_each_turn_once_and_default_weights_change_nothing(
    plain: Renderer, weighted: Renderer, trace: Trace
) -> None:
    try:
        turns = plain.render(trace).turns
    except RowRejected:
        return
    for turn, other in zip(turns, weighted.render(trace).turns, strict=True):
        assert other.parts is not None
        assert turn == replace(other, weights=turn.weights, parts=None)
        assert set(turn.weights) == {1.0}
        by_part = {"tool_call": 2.0, "text": 0.5, "reasoning": 4.0}
        assert other.weights == tuple(by_part[part] for part in other.parts)
        message = trace.messages[turn.index]
        assert ("tool_call" in other.parts) == bool(message.tool_calls)
        assert ("reasoning" in other.parts) == bool((message.reasoning or "").strip())
        assert other.parts[-1] == ("tool_call" if message.tool_calls else "text")


def test_weights_of_message_trace_and_part_multiply_and_reach_the_forest(
    builtin_tokenizer: Any,
) -> None:
    trace = simple_trace()
    messages = list(trace.messages)
    messages[3] = replace(messages[3], weight=3.0)
    trace = replace(trace, messages=tuple(messages), weight=0.5)
    spec = RenderSpec(loss_weights=LossWeights(text=10.0))
    turns = Renderer(builtin_tokenizer, spec).render(trace).turns
    assert [set(turn.weights) for turn in turns] == [{0.5}, {15.0}, {5.0}]
    expected = sum(sum(turn.weights) for turn in turns)
    assert merge_turns(turns).total_weight == pytest.approx(expected)


def test_a_part_of_weight_zero_carries_no_loss_and_is_no_target(builtin_tokenizer: Any) -> None:
    spec = RenderSpec(loss_weights=LossWeights(text=0.0))
    call, answer, _ = Renderer(builtin_tokenizer, spec).render(beside()).turns
    told = texts_by_weight(builtin_tokenizer, call)
    assert told[0.0].strip() == "think"
    assert "get_time" in told[1.0]
    assert answer.n_targets == 0


def test_a_row_of_weight_zero_is_rejected(plain: Renderer) -> None:
    with pytest.raises(RowRejected, match="no_targets"):
        plain.render(replace(simple_trace(), weight=0.0))


def test_masking_reasoning_is_its_weight_zero(builtin_tokenizer: Any) -> None:
    trace = beside("I wonder.")
    masked = Renderer(builtin_tokenizer, RenderSpec(mask_reasoning_content=True)).render(trace)
    zero = RenderSpec(loss_weights=LossWeights(reasoning=0.0))
    assert masked.turns == Renderer(builtin_tokenizer, zero).render(trace).turns


def test_by_default_no_spans_are_asked_for(
    builtin_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(builtin_tokenizer)
    monkeypatch.setattr(renderer.encoder, "token_spans", None)
    assert renderer.render(beside("I wonder.")).turns


def test_the_explanation_names_part_and_weight(weighted: Renderer) -> None:
    trace = beside("I wonder.", "Let me see")
    row = weighted.render(trace)
    (tokens,) = explain(row, weighted.tokenizer, weighted.spec)
    assert {(t.part, t.weight) for t in tokens if t.turn == 1} == {
        ("reasoning", 4.0),
        ("text", 0.5),
        ("tool_call", 2.0),
    }
    assert {(t.part, t.weight) for t in tokens if t.turn is None} == {(None, 0.0)}


def test_escaped_special_tokens_do_not_shift_the_parts(weighted: Renderer) -> None:
    call = weighted.render(beside("see <|endoftext|>", "say <|endoftext|> now")).turns[0]
    told = texts_by_weight(weighted.tokenizer, call)
    assert told[4.0].strip() == "see <|endoftext|>"
    assert told[0.5].strip() == "say <|endoftext|> now"


@pytest.mark.parametrize("weights", [{"text": -1}, {"text": float("nan")}, {"calls": 1}])
def test_impossible_weights_are_refused_by_name(weights: Any) -> None:
    with pytest.raises(UserError, match=r"text|calls"):
        LossWeights.of(weights)


def test_text_that_a_template_prints_otherwise_cannot_be_weighted_apart(qwen25: Any) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}"
        "{{ m.reasoning_content | tojson }}: {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    trace = Trace((Message("user", "Hi"), Message("assistant", "Hey", reasoning="two\nlines")))
    Renderer(qwen25, RenderSpec(chat_template=template)).render(trace)
    spec = RenderSpec(chat_template=template, loss_weights=LossWeights(reasoning=0.5))
    with pytest.raises(RowRejected, match="reasoning_not_found"):
        Renderer(qwen25, spec).render(trace)


def test_reasoning_is_not_looked_for_in_what_stands_before_it(plain: Renderer) -> None:
    """As after a result where the prompt opens no turn: the completion begins with the role."""
    completion = "<|turn>model\n<think>\nmodel\n</think>\n\nHi<|im_end|>"
    assert plain.profile.reasoning_opening == "<think>\n"
    message = Message("assistant", "Hi", reasoning="model")
    spans = [(i, i + 1) for i in range(len(completion))]
    parts = token_parts(message, completion, spans, plain.profile, Gaps("", ""), "messages[0]")
    start = completion.rindex("model")
    assert [i for i, part in enumerate(parts) if part == "reasoning"] == [*range(start, start + 5)]


TEXT_LAST = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for t in m.tool_calls or [] %}"
    '<tool_call>\n{"name": "{{ t.function.name }}", '
    '"arguments": {{ t.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_text_that_a_template_writes_behind_the_calls_is_found_there(
    builtin_tokenizer: Any,
) -> None:
    spec = RenderSpec(chat_template=TEXT_LAST, loss_weights=POWERS)
    trace = replace(beside(content="im"), tools=())  # in "<|im_end|>" and in the call as well
    call = Renderer(builtin_tokenizer, spec).render(trace).turns[0]
    assert texts_by_weight(builtin_tokenizer, call)[0.5] == "im"
    before = call.completion_ids[: call.weights.index(0.5)]
    assert builtin_tokenizer.decode(before).endswith("</tool_call>")
