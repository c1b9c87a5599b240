"""Prompt and completion text of one turn, from the template alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tooltune.render.messages import MessageShape, to_template, without_reasoning
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.traces.types import Message

# Template arguments known to decide whether a generation prompt matches what a turn renders to.
_SWITCHES: tuple[dict[str, Any], ...] = (
    {"enable_thinking": False},
    {"enable_thinking": True},
    {"thinking": False},
    {"thinking": True},
)


class PrefixError(Exception):
    """The full render does not begin with the prompt: the turn cannot be trained as inferred."""

    def __init__(self, switch: str | None) -> None:
        super().__init__(
            "what the template renders for this turn does not begin with the prompt that "
            "inference would feed" + (f"; it does with `{switch}`" if switch else "")
        )
        self.switch = switch


def turn_texts(
    template: ChatTemplate,
    before: Sequence[Message],
    turn: Message,
    tools: Sequence[dict[str, Any]] | None,
    shape: MessageShape,
) -> tuple[str, str]:
    """(prompt text, rest of the full render) of an assistant turn after the messages `before`.

    The rest is the completion, its stop, and whatever the template writes behind it. Where the
    full render rewrites earlier reasoning that the prompt shows (gpt-oss), both are rendered
    without it and that rest is attached to the true prompt.

    Raises: TemplateError, PrefixError.
    """
    prompt = template.render(to_template(before, shape), tools, generation_prompt=True)
    rest = _rest(template, before, turn, tools, shape, prompt)
    if rest is not None:
        return prompt, rest
    if any(message.reasoning for message in before):
        bare = without_reasoning(before)
        bare_prompt = template.render(to_template(bare, shape), tools, generation_prompt=True)
        rest = _rest(template, bare, turn, tools, shape, bare_prompt)
        if rest is not None:
            return prompt, rest
    raise PrefixError(_working_switch(template, before, turn, tools, shape))


def _rest(
    template: ChatTemplate,
    before: Sequence[Message],
    turn: Message,
    tools: Sequence[dict[str, Any]] | None,
    shape: MessageShape,
    prompt: str,
    **switch: Any,
) -> str | None:
    messages = to_template([*before, turn], shape)
    full = template.render(messages, tools, generation_prompt=False, **switch)
    return full[len(prompt) :] if full.startswith(prompt) else None


def _working_switch(
    template: ChatTemplate,
    before: Sequence[Message],
    turn: Message,
    tools: Sequence[dict[str, Any]] | None,
    shape: MessageShape,
) -> str | None:
    for switch in _SWITCHES:
        try:
            prompt = template.render(
                to_template(before, shape), tools, generation_prompt=True, **switch
            )
            if _rest(template, before, turn, tools, shape, prompt, **switch) is not None:
                key, value = next(iter(switch.items()))
                return f"chat_template_kwargs: {{{key}: {str(value).lower()}}}"
        except TemplateError:
            continue
    return None
