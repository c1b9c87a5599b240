"""The one form of a conversation: every format is read into it, everything else reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tooltune.traces.frozen import FrozenDict, freeze, thaw

Role = Literal["system", "user", "assistant", "tool"]

REQUEST_SETTINGS = ("tool_choice", "parallel_tool_calls", "response_format")
"""Keys of an OpenAI request that say which answers were allowed: kept on the trace."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call: tool name and arguments object, in the order the data gave them.

    `id` is the data's own call id, or `None` where it had none.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=FrozenDict)
    id: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", freeze(self.arguments))

    def to_openai(self) -> dict[str, Any]:
        """The call as an OpenAI `tool_calls` entry, its arguments an *object* (see trap 1)."""
        call: dict[str, Any] = {} if self.id is None else {"id": self.id}
        return {
            **call,
            "type": "function",
            "function": {"name": self.name, "arguments": thaw(self.arguments)},
        }


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool that the agent had.

    `function` is the OpenAI function object (`name`, `description`, `parameters` as a JSON
    schema, and whatever else the data gave), keys in the data's order, since templates print it.
    """

    function: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", freeze(self.function))

    @property
    def name(self) -> str:
        return str(self.function["name"])

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON schema of the arguments; empty where the data gave none."""
        return self.function.get("parameters") or {}

    def to_openai(self) -> dict[str, Any]:
        return {"type": "function", "function": thaw(self.function)}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `content` is `None` where the data gave none (as beside calls).

    `reasoning` is the assistant's thinking, kept apart from what it said. `weight` multiplies
    the loss of an assistant message's tokens; 0 makes it context only.
    `tool_call_id` and `name` tell which call a tool message answers. `is_error` marks a tool
    message that the data calls an error; no template shows it, the content does.
    """

    role: Role
    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    weight: float = 1.0
    is_error: bool = False

    def to_openai(self) -> dict[str, Any]:
        """The message in OpenAI chat form: `content` always present, other keys only if set.

        Reasoning goes to `reasoning_content`, the key that chat templates read.
        """
        message: dict[str, Any] = {"role": self.role, "content": self.content or ""}
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [call.to_openai() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            message["name"] = self.name
        if self.weight != 1.0:
            message["weight"] = self.weight
        if self.is_error:
            message["is_error"] = True
        return message


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row was read: file path or hub id, and its 0-based row there."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}:{self.row}"


@dataclass(frozen=True, slots=True)
class Trace:
    """One conversation of an agent with the tools it had.

    `settings` are the request settings that the row gave (`REQUEST_SETTINGS`), as they were.
    `weight` multiplies the loss of the whole trace; it belongs to a run, not to the conversation.
    `id` identifies the trace in splits, samples and reports (`content_id` unless the loader had
    to number duplicates). Traces of one `group` never fall on both sides of a split.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=FrozenDict)
    weight: float = 1.0
    id: str = ""
    group: str = ""
    source: Source | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", freeze(self.settings))
        if not self.id:
            object.__setattr__(self, "id", self.content_id)
        if not self.group:
            object.__setattr__(self, "group", self.id)

    @property
    def content_id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the trace in OpenAI form."""
        text = json.dumps(self.to_openai(), ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def turns(self) -> tuple[int, ...]:
        """Indices of the assistant messages that have a prompt (something before them)."""
        return tuple(i for i, m in enumerate(self.messages) if m.role == "assistant" and i > 0)

    def to_openai(self) -> dict[str, Any]:
        """`{"messages": [...], "tools": [...]}` and the settings: the canonical row.

        `tools` and settings stand there only if the trace has them.
        """
        row: dict[str, Any] = {"messages": [message.to_openai() for message in self.messages]}
        if self.tools:
            row["tools"] = [tool.to_openai() for tool in self.tools]
        return {**row, **thaw(self.settings)}
