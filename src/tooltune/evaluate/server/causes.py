"""Why a server's prompt is not ours: the usual causes, tried one by one.

Our own prompt is rendered again with one thing changed. Where that gives the server's text (or,
where no more is known, its number of tokens), that thing is the cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tooltune.render.messages import (
    PlainMessage,
    to_template,
    tools_to_template,
    without_old_reasoning,
    without_reasoning,
)
from tooltune.render.template import TemplateError
from tooltune.render.turns import Renderer
from tooltune.traces.types import Trace

BEGINNING = (
    "a begin-of-text token more on one side: where the template writes it, the tokenizer must not"
)
DATE = "the date: the server tells the model another day than our prompt"
NO_TOOLS = "the server shows the model no tools: look at its chat template and flags"
TOOL_ORDER = "the tools stand in another order"
TOOL_JSON = "the tools' schemas are spelled otherwise: keys added, left out or in another order"
NO_SYSTEM = "the server leaves the system prompt out"
SYSTEM = "the system prompt: what stands before the first user message is not the same"
THINKING = "the thinking switch: give both sides the same chat_template_kwargs"
NO_HEADER = "the server does not write the header of the answer (the generation prompt)"
BESIDE_CALLS = "the server leaves out what the assistant said beside its calls"
REASONING = "the reasoning of earlier turns, which one side shows and the other does not"
SPACES = "white space alone: another version of the template, or fields that one side trims"
TOKENIZER = "the texts are equal and the tokens are not: the server has another tokenizer"

_THINKS = re.compile(r"think|reason", re.IGNORECASE)
_TAIL = 100  # characters at the end of a prompt in which the thinking switch shows
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d|\d{1,2} [A-Z][a-z]{2,8},? \d{4}|[A-Z][a-z]{2,8} \d{1,2},? \d{4}"
)


class _Variant(NamedTuple):
    cause: str
    messages: list[PlainMessage]
    tools: list[dict[str, Any]] | None
    arguments: Mapping[str, Any] = {}
    header: bool = True


def cause_of_difference(
    renderer: Renderer, trace: Trace, index: int, ours: str, theirs: str
) -> str | None:
    """What explains that the texts, or the tokens of equal texts, differ; None where nothing does.

    The prompts are those of the turn at message `index`.
    """
    if ours == theirs:
        return TOKENIZER
    start = str(getattr(renderer.tokenizer, "bos_token", None) or "")
    if start and _stripped(ours, start) == _stripped(theirs, start):
        return BEGINNING
    if _DATE.sub("DATE", ours) == _DATE.sub("DATE", theirs):
        return DATE
    for variant in _variants(renderer, trace, index):
        text = _rendered(renderer, variant)
        if text is not None and _stripped(text, start) == _stripped(theirs, start):
            return variant.cause
    if "".join(ours.split()) == "".join(theirs.split()):
        return SPACES
    return _cause_of_place(trace, ours, theirs)


def cause_of_count(
    renderer: Renderer, trace: Trace, index: int, ours: int, theirs: int
) -> str | None:
    """What gives our prompt, of so many tokens, the server's number of them; None: nothing does.

    Several changes may give the same number: all of them are named.
    """
    if theirs == ours + 1 and getattr(renderer.tokenizer, "bos_token", None):
        return BEGINNING
    fitting = []
    for variant in _variants(renderer, trace, index):
        text = _rendered(renderer, variant)
        if text is not None and len(renderer.encoder.encode(text)) == theirs:
            fitting.append(variant.cause)
    return "; or ".join(dict.fromkeys(fitting)) or None


def _variants(renderer: Renderer, trace: Trace, index: int) -> Iterator[_Variant]:
    messages = to_template(trace.messages[:index], renderer.profile.shape)
    if renderer.spec.drop_history_reasoning_content:
        messages = without_old_reasoning(messages)
    tools = tools_to_template(trace.tools)
    for switch in ("enable_thinking", "thinking"):
        for on in (False, True):
            yield _Variant(THINKING, messages, tools, {switch: on})
    yield _Variant(NO_HEADER, messages, tools, header=False)
    silent = [m | {"content": ""} if m.get("tool_calls") else m for m in messages]
    yield _Variant(BESIDE_CALLS, silent, tools)
    yield _Variant(REASONING, without_reasoning(messages), tools)
    yield _Variant(REASONING, to_template(trace.messages[:index], renderer.profile.shape), tools)
    yield _Variant(NO_SYSTEM, [m for m in messages if m["role"] != "system"], tools)
    if tools:
        yield _Variant(NO_TOOLS, messages, None)
        yield _Variant(TOOL_ORDER, messages, tools[::-1])
        by_name = sorted(tools, key=lambda tool: str(tool["function"]["name"]))
        yield _Variant(TOOL_ORDER, messages, by_name)
        yield _Variant(TOOL_JSON, messages, [_by_key(tool) for tool in tools])


def _rendered(renderer: Renderer, variant: _Variant) -> str | None:
    try:
        return renderer.template.render(
            variant.messages,
            variant.tools,
            generation_prompt=variant.header,
            **variant.arguments,
        )
    except TemplateError:
        return None


def _cause_of_place(trace: Trace, ours: str, theirs: str) -> str | None:
    """What the place of the first difference tells."""
    shorter = min(len(ours), len(theirs))
    at = next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)
    if at >= shorter - _TAIL and _THINKS.search(ours[at:] + theirs[at:]):
        return THINKING
    names = [tool.name for tool in trace.tools]
    if any(name not in theirs for name in names):
        return NO_TOOLS
    order = [sorted(names, key=text.find) for text in (ours, theirs)]
    if order[0] != order[1]:
        return TOOL_ORDER
    user = next((m.content for m in trace.messages if m.role == "user" and m.content), None)
    system = next((m.content for m in trace.messages if m.role == "system" and m.content), "")
    if user is None or at >= ours.find(user) >= 0:
        return None
    if names and system in theirs and ours.find(names[0]) - 200 < at:
        return TOOL_JSON
    return SYSTEM


def _stripped(text: str, start: str) -> str:
    """`text` without the begin-of-text tokens that it begins with."""
    while start and text.startswith(start):
        text = text[len(start) :]
    return text


def _by_key(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _by_key(value[key]) for key in sorted(value)}
    return [_by_key(item) for item in value] if isinstance(value, list) else value
