"""Trace messages in the shape that a template's probe showed it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tooltune.traces.types import Message, Tool


@dataclass(frozen=True, slots=True)
class MessageShape:
    """How a template wants its messages.

    arguments: `"object"`, or `"string"` for templates that concatenate JSON text.
    empty_content: what stands beside calls without text: `""`, or no `content` key (which is
    what transformers makes of `None`).
    content: a string, or a list of one text part for templates that read only parts.
    call_ids: `"numbered"` for templates that want nine letters or digits (Mistral): such ids are
    kept, and every other call gets one by its place in the conversation.
    """

    arguments: Literal["object", "string"] = "object"
    empty_content: Literal["empty", "absent"] = "empty"
    content: Literal["text", "parts"] = "text"
    call_ids: Literal["kept", "numbered"] = "kept"


PlainMessage = dict[str, Any]
_REASONING = "reasoning_content"


def to_template(messages: Sequence[Message], shape: MessageShape) -> list[PlainMessage]:
    """OpenAI-style dictionaries for `apply_chat_template`."""
    if shape.call_ids == "numbered":
        messages = _numbered(messages)
    return [_one(message, shape) for message in messages]


def tools_to_template(tools: Sequence[Tool]) -> list[dict[str, Any]] | None:
    return [tool.to_openai() for tool in tools] or None


def without_reasoning(messages: Sequence[PlainMessage]) -> list[PlainMessage]:
    return [
        {key: value for key, value in message.items() if key != _REASONING}
        if _REASONING in message
        else message
        for message in messages
    ]


def has_reasoning(messages: Sequence[PlainMessage]) -> bool:
    return any(message.get(_REASONING) for message in messages)


def without_old_reasoning(messages: Sequence[PlainMessage]) -> list[PlainMessage]:
    """Drop the reasoning of assistant turns before the last user message.

    Inside the running tool loop, after that message, it stays: inference shows it there.
    """
    last_user = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=0)
    return [*without_reasoning(messages[:last_user]), *messages[last_user:]]


def _one(message: Message, shape: MessageShape) -> PlainMessage:
    plain = message.to_openai()
    plain.pop("weight", None)
    plain.pop("is_error", None)
    if message.tool_calls:
        if not message.content and shape.empty_content == "absent":
            del plain["content"]
        if shape.arguments == "string":
            for call in plain["tool_calls"]:
                arguments = call["function"]["arguments"]
                call["function"]["arguments"] = json.dumps(arguments, ensure_ascii=False)
    if shape.content == "parts" and isinstance(plain.get("content"), str):
        plain["content"] = [{"type": "text", "text": plain["content"]}]
    return plain


def _numbered(messages: Sequence[Message]) -> list[Message]:
    """The messages with call ids of nine characters; results keep pointing at their calls.

    A result without an id answers the calls of the turn before it in order. An id depends on
    nothing that comes later, so a prompt shows the ids that its continuation shows.
    """
    numbered: list[Message] = []
    known: dict[str, str] = {}
    waiting: list[str] = []
    calls = 0
    for message in messages:
        if message.tool_calls:
            waiting = []
            for call in message.tool_calls:
                calls += 1
                own = call.id if call.id and _NINE.fullmatch(call.id) else f"call{calls:05d}"
                waiting.append(own)
                if call.id:
                    known[call.id] = own
            pairs = zip(message.tool_calls, waiting, strict=True)
            given = tuple(replace(call, id=own) for call, own in pairs)
            message = replace(message, tool_calls=given)
        elif message.role == "tool":
            answered = known.get(message.tool_call_id or "", waiting[0] if waiting else None)
            if answered in waiting:
                waiting.remove(answered)
            message = replace(message, tool_call_id=answered or f"call{calls:05d}")
        numbered.append(message)
    return numbered


_NINE = re.compile(r"[A-Za-z0-9]{9}")
