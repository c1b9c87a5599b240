"""The flags that choose what carries loss and what a prompt shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.render.strategies import simple_trace
from tooltune.render.representable import RowRejected
from tooltune.render.spec import LossWeights, RenderSpec
from tooltune.render.turns import Renderer
from tooltune.traces.types import Message, Trace


def test_by_default_every_assistant_token_is_a_target_and_nothing_else(qwen25: Any) -> None:
    rendered = Renderer(qwen25).render(simple_trace())
    assert [turn.n_targets for turn in rendered.turns] == [
        len(turn.completion_ids) for turn in rendered.turns
    ]


def test_only_the_last_turn_is_trained_on_request(qwen25: Any) -> None:
    spec = RenderSpec(train_on_last_turn_only=True)
    rendered = Renderer(qwen25, spec).render(simple_trace())
    assert [turn.n_targets > 0 for turn in rendered.turns] == [False, False, True]
    assert rendered.trained_turns == (rendered.turns[-1],)


def test_a_messages_weight_scales_its_loss_and_zero_makes_it_context(qwen25: Any) -> None:
    trace = simple_trace()
    messages = list(trace.messages)
    messages[1] = replace(messages[1], weight=0.0)
    messages[3] = replace(messages[3], weight=0.5)
    rendered = Renderer(qwen25).render(Trace(tuple(messages), trace.tools))
    assert [set(turn.weights) for turn in rendered.turns] == [{0.0}, {0.5}, {1.0}]


def test_a_row_whose_every_weight_is_zero_is_rejected(qwen25: Any) -> None:
    messages = (Message("user", "Hi"), Message("assistant", "Hello", weight=0.0))
    with pytest.raises(RowRejected, match="no_targets"):
        Renderer(qwen25).render(Trace(messages))


@pytest.mark.parametrize("name", ["builtin", "qwen3"])
def test_masked_reasoning_stays_in_the_text_but_carries_no_loss(
    tokenizers: dict[str, Any], name: str
) -> None:
    tokenizer = tokenizers[name]
    trace = simple_trace(reasoning="The user wants the time in Rome.")
    rendered = Renderer(tokenizer, RenderSpec(mask_reasoning_content=True)).render(trace)
    for turn in rendered.turns:
        pairs = list(zip(turn.completion_ids, turn.weights, strict=True))
        masked = tokenizer.decode([token for token, weight in pairs if weight == 0])
        trained = tokenizer.decode([token for token, weight in pairs if weight > 0])
        assert "The user wants the time in Rome." in turn.completion_text
        assert masked.strip() == "The user wants the time in Rome."
        assert "wants" not in trained
        assert trained.endswith("<|im_end|>")


@pytest.mark.parametrize("name", ["builtin", "qwen3"])
@pytest.mark.parametrize(
    ("reasoning", "answer"),
    [
        ("think", "I think so."),  # also in the opening tag, and again in the answer
        ("You said <|endoftext|> there", "It is <|endoftext|> now."),  # special tokens as text
    ],
)
def test_the_reasoning_itself_is_masked_wherever_else_its_words_occur(
    tokenizers: dict[str, Any], name: str, reasoning: str, answer: str
) -> None:
    tokenizer = tokenizers[name]
    special = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    trace = simple_trace(reasoning=reasoning, answer=answer)
    for turn in Renderer(tokenizer, RenderSpec(mask_reasoning_content=True)).render(trace).turns:
        pairs = list(zip(turn.completion_ids, turn.weights, strict=True))
        assert special not in turn.completion_ids
        before, _, after = turn.completion_text.partition(f"\n{reasoning}\n")
        assert tokenizer.decode([t for t, w in pairs if w == 0]).strip() == reasoning
        trained = tokenizer.decode([t for t, w in pairs if w > 0])
        assert "".join(trained.split()) == "".join((before + after).split())


def test_reasoning_that_the_template_alters_cannot_be_masked_and_refuses_the_row(
    qwen25: Any,
) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}"
        "{{ m.reasoning_content | upper if 'shout' in m.reasoning_content else "
        "m.reasoning_content }}: {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    renderer = Renderer(qwen25, RenderSpec(chat_template=template, mask_reasoning_content=True))
    user = Message("user", "Hi")
    calm, loud = (Message("assistant", "Hey", reasoning=text) for text in ("calm", "shout"))
    assert 0.0 in renderer.render(Trace((user, calm))).turns[0].weights
    with pytest.raises(RowRejected, match="text_not_recoverable"):
        renderer.render(Trace((user, loud)))


def test_old_reasoning_leaves_the_prompt_but_stays_inside_the_running_tool_loop(
    builtin_tokenizer: Any,
) -> None:
    trace = simple_trace(reasoning="secret plan")
    spec = RenderSpec(drop_history_reasoning_content=True)
    kept = Renderer(builtin_tokenizer).render(trace).turns
    dropped = Renderer(builtin_tokenizer, spec).render(trace).turns
    assert [turn.prompt_text.count("secret plan") for turn in kept] == [0, 1, 2]
    # Turn 2 answers inside the loop of the first question; turn 3 follows a new question.
    assert [turn.prompt_text.count("secret plan") for turn in dropped] == [0, 1, 0]
    assert all("secret plan" in turn.completion_text for turn in dropped)


def test_template_arguments_reach_every_render(qwen3: Any) -> None:
    spec = RenderSpec(chat_template_kwargs={"enable_thinking": False})
    off = Renderer(qwen3, spec).render(simple_trace()).turns
    on = Renderer(qwen3).render(simple_trace()).turns
    assert all(turn.prompt_text.endswith("<think>\n\n</think>\n\n") for turn in off)
    assert all(turn.completion_text.startswith("<think>\n\n</think>\n\n") for turn in on)
    assert not any("<think>" in turn.completion_text for turn in off)


def test_the_date_that_a_template_prints_is_the_specifications(qwen25: Any) -> None:
    template = (
        "{% macro day() %}{{ 'On ' + strftime_now('%d %b %Y') }}{% endmacro %}{{ day() }}\n"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    spec = RenderSpec(chat_template=template, date="2024-02-29")
    trace = Trace((Message("user", "Hi"), Message("assistant", "Hello")))
    assert Renderer(qwen25, spec).render(trace).turns[0].prompt_text.startswith("On 29 Feb 2024\n")


def test_a_leading_assistant_turn_is_context_only(qwen25: Any) -> None:
    messages = (Message("assistant", "Welcome!"), *simple_trace().messages)
    rendered = Renderer(qwen25).render(Trace(messages, simple_trace().tools))
    assert [turn.index for turn in rendered.turns] == [2, 4, 6]
    assert "Welcome!" in rendered.turns[0].prompt_text


def test_every_part_of_the_specification_changes_its_fingerprint() -> None:
    specs = [
        RenderSpec(),
        RenderSpec(chat_template="x"),
        RenderSpec(chat_template_kwargs={"a": 1}),
        RenderSpec(date="2024-02-29"),
        RenderSpec(train_on_last_turn_only=True),
        RenderSpec(mask_reasoning_content=True),
        RenderSpec(drop_history_reasoning_content=True),
        RenderSpec(seq_length=10),
        RenderSpec(seq_length=10, truncate_history=True),
        RenderSpec(seq_length=10, filter_overlong=True),
        RenderSpec(seq_length=10, truncation=True),
        RenderSpec(filter_no_assistant=True),
        RenderSpec(trim_incomplete_last_turn=True),
        RenderSpec(skip_failed_calls=True),
        RenderSpec(control_tokens="escape"),
        RenderSpec(loss_weights=LossWeights(text=2.0)),
    ]
    assert len({spec.fingerprint for spec in specs}) == len(specs)


def test_a_specification_asks_for_turns_that_it_would_not_train(qwen25: Any) -> None:
    trace = Trace((Message("user", "Hi"), Message("assistant", "Hello")), simple_trace().tools)
    spec = RenderSpec(
        date="2026-01-31",
        drop_history_reasoning_content=True,
        mask_reasoning_content=True,
        train_on_last_turn_only=True,
        loss_weights=LossWeights(text=0),
    )
    with pytest.raises(RowRejected, match="no_targets"):
        Renderer(qwen25, spec).render(trace)
    (turn,) = Renderer(qwen25, spec.of_prompts).render(trace).turns
    assert turn.prompt_ids
    assert spec.of_prompts == RenderSpec(date="2026-01-31", drop_history_reasoning_content=True)
