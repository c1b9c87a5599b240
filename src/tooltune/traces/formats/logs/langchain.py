"""LangChain messages, as LangSmith and Langfuse export them, to OpenAI messages.

Three spellings of one message (python.langchain.com, "Messages"; langchain_core `dumpd` and
`messages_to_dict`):

    {"type": "ai", "content": "...", "tool_calls": [{"name": ..., "args": {...}, "id": ...}]}
    {"type": "ai", "data": {"content": "...", ...}}
    {"lc": 1, "type": "constructor", "id": [..., "AIMessage"], "kwargs": {"content": "...", ...}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROLES = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "AIMessageChunk": "assistant",
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "tool",
}


def _parts(message: Any) -> tuple[str, Mapping[str, Any]] | None:
    """The role of a LangChain message and its fields; None for anything else."""
    if not isinstance(message, Mapping) or "role" in message:
        return None
    kind, fields = message.get("type"), message
    if "lc" in message:
        path = message.get("id")
        kind = path[-1] if isinstance(path, (list, tuple)) and path else None
        fields = message.get("kwargs") or {}
    elif isinstance(message.get("data"), Mapping):
        fields = message["data"]
    role = ROLES.get(kind) if isinstance(kind, str) else None
    return None if role is None or not isinstance(fields, Mapping) else (role, fields)


def is_langchain(messages: Any) -> bool:
    """Whether a list of messages is of LangChain's, judged by the first (LangSmith nests it)."""
    first = messages[0] if isinstance(messages, (list, tuple)) and messages else None
    return _parts(first) is not None or (isinstance(first, (list, tuple)) and is_langchain(first))


def read_messages(messages: Any) -> list[Any]:
    """OpenAI messages; what is no LangChain message stays as it is, for the reader to refuse."""
    if len(messages) == 1 and isinstance(messages[0], (list, tuple)):
        messages = messages[0]  # a batch of one
    return [_read(message) for message in messages]


def read_generations(generations: Any) -> list[Any]:
    """The answer in `{"generations": [[{"text": ..., "message": {...}}]]}`: the first; or none."""
    while isinstance(generations, (list, tuple)) and generations:
        generations = generations[0]
    message = generations.get("message") if isinstance(generations, Mapping) else None
    return [] if message is None else [_read(message)]


def _read(message: Any) -> Any:
    parts = _parts(message)
    if parts is None:
        return message
    role, fields = parts
    extra = fields.get("additional_kwargs")
    extra = extra if isinstance(extra, Mapping) else {}
    read = {"role": role, "content": fields.get("content")}
    calls = fields.get("tool_calls")
    if isinstance(calls, (list, tuple)) and calls:
        read["tool_calls"] = [_call(call) for call in calls]
        if isinstance(read["content"], (list, tuple)):  # Anthropic's blocks repeat the calls
            read["content"] = [
                block
                for block in read["content"]
                if not (isinstance(block, Mapping) and block.get("type") == "tool_use")
            ] or None
    elif extra.get("tool_calls"):
        read["tool_calls"] = extra["tool_calls"]
    if extra.get("reasoning_content"):
        read["reasoning_content"] = extra["reasoning_content"]
    for key in ("tool_call_id", "name"):
        if fields.get(key) is not None:
            read[key] = fields[key]
    return read


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping) or "args" not in call:
        return call
    return {"id": call.get("id"), "function": {"name": call.get("name"), "arguments": call["args"]}}
