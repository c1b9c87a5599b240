"""Lint under a template: turns without reasoning where the template writes an empty think block."""

from __future__ import annotations

from typing import Any

import pytest

from tests.traces.lint.build import calls, codes, result, says, trace, user
from tooltune.render.lint import probe_thinking, template_checks
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer

# As Qwen3.5 does it: the prompt opens the block, so a turn without reasoning begins by closing it.
OPENED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% if not nothink %}<think>{{ m.reasoning_content or '' }}"
    "</think>{% endif %}{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not nothink %}<think>{% endif %}{% endif %}"
)


def test_the_empty_block_of_qwen3_and_its_switch_are_found(tokenizers: dict[str, Any]) -> None:
    thinking = probe_thinking(Renderer(tokenizers["qwen3"]))
    assert thinking is not None
    assert thinking.block == "<think>\n\n</think>"
    assert "chat_template_kwargs: {enable_thinking: false}" in thinking.fix


@pytest.mark.parametrize("name", ["builtin", "qwen2.5"])
def test_templates_that_write_no_empty_block_call_for_no_check(
    tokenizers: dict[str, Any], name: str
) -> None:
    assert template_checks(Renderer(tokenizers[name])) == {}


def test_with_the_switch_thrown_nothing_is_found(tokenizers: dict[str, Any]) -> None:
    off = RenderSpec(chat_template_kwargs={"enable_thinking": False})
    assert template_checks(Renderer(tokenizers["qwen3"], off)) == {}


def test_a_block_that_the_prompt_opens_is_learnt_as_its_closing(
    tokenizers: dict[str, Any],
) -> None:
    renderer = Renderer(tokenizers["qwen3"], RenderSpec(chat_template=OPENED))
    thinking = probe_thinking(renderer)
    assert thinking is not None
    assert (thinking.block, thinking.switch) == ("</think>", None)
    assert "enable_thinking" not in thinking.fix
    learnt = renderer.render(trace(user(), says(), tools=())).turns[0].completion_text
    assert learnt.startswith(thinking.block)


def test_turns_that_carry_loss_and_no_reasoning_are_found(tokenizers: dict[str, Any]) -> None:
    talk = trace(user(), calls(), result(), says(reasoning="It shines."), user(), says(weight=0.0))
    renderer = Renderer(tokenizers["qwen3"])
    assert codes(talk, template_checks(renderer)) == [("empty_thinking_learnt", 1)]
    learnt = renderer.render(talk).turns
    assert "<think>\n\n</think>" in learnt[0].completion_text
    assert "<think>\n\n</think>" not in learnt[1].completion_text
    last = RenderSpec(train_on_last_turn_only=True)
    assert codes(talk, template_checks(Renderer(tokenizers["qwen3"], last))) == []
