"""The template called directly: the same text, and the internals of transformers it leans on."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from tests.render.strategies import simple_trace
from tooltune.render.jinja import direct_renderer
from tooltune.render.spec import RenderSpec
from tooltune.render.template import ChatTemplate

NAMES = ["builtin_tokenizer", "qwen25", "qwen3"]


def test_transformers_still_compiles_templates_as_we_call_it() -> None:
    """`_compile_jinja_template(source)` is internal: its form is pinned here."""
    compile_template = chat_template_utils._compile_jinja_template
    assert next(iter(inspect.signature(compile_template).parameters)) == "chat_template"
    template = compile_template("{{ x | tojson }}")
    assert callable(template.environment.filters["tojson"])
    assert template.environment.sandboxed


@pytest.mark.parametrize("name", NAMES)
def test_a_direct_call_gives_what_apply_chat_template_gives(
    name: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(name)
    render = direct_renderer(tokenizer)
    assert render is not None
    row = simple_trace().to_openai()
    for end in range(1, len(row["messages"]) + 1):
        messages = row["messages"][:end]
        for prompt in (True, False):
            theirs = tokenizer.apply_chat_template(
                messages, tools=row["tools"], add_generation_prompt=prompt, tokenize=False
            )
            source = tokenizer.get_chat_template(None, tools=row["tools"])
            assert render(source, messages, row["tools"], prompt, {}) == theirs


def test_a_tokenizer_with_a_way_of_its_own_is_left_to_it(qwen25: Any) -> None:
    class Own(type(qwen25)):  # type: ignore[misc]
        def apply_chat_template(self, *args: Any, **kwargs: Any) -> str:
            return "own"

    own = Own.__new__(Own)
    assert isinstance(own, PreTrainedTokenizerBase)
    assert direct_renderer(own) is None


def test_an_object_that_changes_place_in_memory_is_not_taken_for_another(qwen25: Any) -> None:
    """What is remembered of `tojson` belongs to the object, not to its address."""
    render = direct_renderer(qwen25)
    assert render is not None
    source = "{{ messages[0].x | tojson }}"
    for number in range(5000):
        assert render(source, [{"x": {"n": number}}], None, False, {}) == f'{{"n": {number}}}'


def test_what_cannot_be_rendered_directly_is_left_to_apply_chat_template(qwen25: Any) -> None:
    """`separators` as a list is no key to remember by, and stands in a branch seldom taken."""
    rare = "{% if messages[0].content == 'rare' %}{{ messages[0] | tojson(separators=[',', ':']) }}"
    template = ChatTemplate(qwen25, RenderSpec(chat_template=rare + "{% endif %}"))

    def shown(text: str) -> str:
        message = {"role": "user", "content": text}
        return template.render([message], None, generation_prompt=True)

    assert [shown("common") for _ in range(20)] == [""] * 20
    assert shown("rare") == '{"role":"user","content":"rare"}'
