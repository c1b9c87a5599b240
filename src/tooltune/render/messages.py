"""Trace messages in the shape that a template's probe showed it reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tooltune.traces.types import Message, Tool


@dataclass(frozen=True, slots=True)
class MessageShape:
    """How a template wants an assistant message with calls.

    arguments: `"object"`, or `"string"` for templates that concatenate JSON text.
    empty_content: what stands beside calls without text: `""`, or no `content` key at all.
    """

    arguments: Literal["object", "string"] = "object"
    empty_content: Literal["empty", "absent"] = "empty"


def to_template(messages: Sequence[Message], shape: MessageShape) -> list[dict[str, Any]]:
    """OpenAI-style dictionaries for `apply_chat_template`."""
    return [_one(message, shape) for message in messages]


def tools_to_template(tools: Sequence[Tool]) -> list[dict[str, Any]] | None:
    return [tool.to_openai() for tool in tools] or None


def without_reasoning(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(replace(m, reasoning=None) if m.reasoning else m for m in messages)


def without_old_reasoning(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Drop the reasoning of assistant turns before the last user message.

    Inside the running tool loop, after that message, it stays: inference shows it there.
    """
    last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=0)
    return (*without_reasoning(messages[:last_user]), *messages[last_user:])


def _one(message: Message, shape: MessageShape) -> dict[str, Any]:
    plain = message.to_openai()
    plain.pop("weight", None)
    if message.tool_calls:
        if not message.content and shape.empty_content == "absent":
            del plain["content"]
        if shape.arguments == "string":
            for call in plain["tool_calls"]:
                arguments = call["function"]["arguments"]
                call["function"]["arguments"] = json.dumps(arguments, ensure_ascii=False)
    return plain
