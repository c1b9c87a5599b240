"""Prompt and completion text of one turn, from the template alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from tooltune.render.messages import (
    MessageShape,
    PlainMessage,
    has_reasoning,
    to_template,
    without_reasoning,
)
from tooltune.render.template import ChatTemplate, TemplateError
from tooltune.traces.types import Message

# Template arguments known to decide whether a generation prompt matches what a turn renders to.
_SWITCHES: tuple[dict[str, Any], ...] = (
    {"enable_thinking": False},
    {"enable_thinking": True},
    {"thinking": False},
    {"thinking": True},
)
_OPENING_SHOWN = 60  # characters of a generation prompt that an error quotes


class PrefixError(Exception):
    """The full render does not begin with the prompt: the turn cannot be trained as inferred."""

    def __init__(self, switch: str | None, opening: str = "") -> None:
        super().__init__(
            "what the template renders for this turn does not begin with the prompt that "
            "inference would feed"
            + (f", whose end is {opening!r}" if opening else "")
            + (f"; it does with `{switch}`" if switch else "")
        )
        self.switch = switch
        self.opening = opening


def turn_texts(
    template: ChatTemplate,
    before: Sequence[Message],
    turn: Message,
    tools: Sequence[dict[str, Any]] | None,
    shape: MessageShape,
) -> tuple[str, str]:
    """`plain_turn_texts` of messages, put into the template's shape."""
    *plain, last = to_template([*before, turn], shape)
    return plain_turn_texts(template, plain, last, tools)


def plain_turn_texts(
    template: ChatTemplate,
    before: Sequence[PlainMessage],
    turn: PlainMessage,
    tools: Sequence[dict[str, Any]] | None,
) -> tuple[str, str]:
    """(prompt text, rest of the full render) of an assistant turn after the messages `before`.

    The rest is the completion, its stop, and whatever the template writes behind it. Where the
    full render rewrites earlier reasoning or text beside calls that the prompt shows (gpt-oss),
    or moves the system text (Mistral writes it into the last user message only while that is the
    last message), both are rendered without it and that rest is attached to the true prompt.

    Raises: TemplateError, PrefixError.
    """
    prompt = template.render(before, tools, generation_prompt=True)
    rest = _rest(template, before, turn, tools, prompt)
    if rest is not None:
        return prompt, rest
    for bare in _without_what_moves(before):
        try:
            bare_prompt = template.render(bare, tools, generation_prompt=True)
            rest = _rest(template, bare, turn, tools, bare_prompt)
        except TemplateError:  # what was left out is needed: no way round
            continue
        if rest is not None:
            return prompt, rest
    closed = template.render(before, tools, generation_prompt=False)
    opening = prompt[len(shared_prefix(prompt, closed)) :]
    switch = _working_switch(template, before, turn, tools)
    raise PrefixError(switch, opening if len(opening) <= _OPENING_SHOWN else "")


def shared_prefix(first: str, second: str) -> str:
    """The longest text that both begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return first[: next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))]


def _without_what_moves(before: Sequence[PlainMessage]) -> Iterator[Sequence[PlainMessage]]:
    """The messages without what a template may show in a prompt and not behind it."""
    ways: list[Callable[[Sequence[PlainMessage]], Sequence[PlainMessage]]] = []
    if has_reasoning(before):
        ways.append(without_reasoning)
    if any(message.get("tool_calls") and message.get("content") for message in before):
        ways.append(_without_text_beside_calls)
    if len(before) > 1 and before[0]["role"] == "system":
        ways.append(lambda messages: messages[1:])
    for size in range(1, len(ways) + 1):
        for chosen in combinations(ways, size):
            bare = before
            for way in chosen:
                bare = way(bare)
            yield bare


def _without_text_beside_calls(messages: Sequence[PlainMessage]) -> list[PlainMessage]:
    return [{**m, "content": ""} if m.get("tool_calls") else m for m in messages]


def _rest(
    template: ChatTemplate,
    before: Sequence[PlainMessage],
    turn: PlainMessage,
    tools: Sequence[dict[str, Any]] | None,
    prompt: str,
    **switch: Any,
) -> str | None:
    full = template.render([*before, turn], tools, generation_prompt=False, **switch)
    return full[len(prompt) :] if full.startswith(prompt) else None


def _working_switch(
    template: ChatTemplate,
    before: Sequence[PlainMessage],
    turn: PlainMessage,
    tools: Sequence[dict[str, Any]] | None,
) -> str | None:
    for switch in _SWITCHES:
        try:
            prompt = template.render(before, tools, generation_prompt=True, **switch)
            if _rest(template, before, turn, tools, prompt, **switch) is not None:
                key, value = next(iter(switch.items()))
                return f"chat_template_kwargs: {{{key}: {str(value).lower()}}}"
        except TemplateError:
            continue
    return None
