"""Streamed responses: chunks of OpenAI chat completions put together again.

OpenAI API reference, "The chat completion chunk object" and "Streaming": objects
`{"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {...}, "finish_reason"}]}`,
sent as server-sent events, lines `data: {...}` and at the end `data: [DONE]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.traces.jsonio import RowError, loads

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


def read_events(text: str, where: str) -> list[Any]:
    """The JSON values of server-sent events. Raises `RowError` as `loads`."""
    lines = (line.strip() for line in text.split("\n"))
    events = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    return [
        loads(event, f"{where}, event {i}")
        for i, event in enumerate(events)
        if event and event != "[DONE]"
    ]


def is_chunk(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("object") == "chat.completion.chunk"


def join_chunks(chunks: Sequence[Any], where: str) -> dict[str, Any]:
    """One chat completion from its chunks, of which only the first choice (index 0) is read.

    Raises `RowError` (`streamed_response` for anything but such chunks, `incomplete_response`
    where the last one is missing).
    """
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    finish: str | None = None
    for chunk in chunks:
        for choice in _choices(chunk, where):
            delta = choice.get("delta")
            if not isinstance(delta, Mapping):
                continue
            for key in _TEXTS:
                if isinstance(delta.get(key), str):
                    message[key] = (message.get(key) or "") + delta[key]
            parts = delta.get("tool_calls")
            for part in parts if isinstance(parts, (list, tuple)) else ():
                _add_call(calls, part, where)
            if isinstance(choice.get("finish_reason"), str):
                finish = choice["finish_reason"]
    if finish is None:
        reason = f"{where}: the stream ends without a finish_reason, so the answer was cut off"
        raise RowError("incomplete_response", f"{reason}; remove the row")
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def _choices(chunk: Any, where: str) -> list[Mapping[str, Any]]:
    choices = chunk.get("choices") if isinstance(chunk, Mapping) else None
    if not is_chunk(chunk) or not isinstance(choices, (list, tuple)):
        reason = f"{where} is a stream of other events than chat.completion.chunk; log the whole"
        raise RowError("streamed_response", f"{reason} response instead")
    return [c for c in choices if isinstance(c, Mapping) and c.get("index", 0) == 0]


def _add_call(calls: dict[int, dict[str, Any]], part: Any, where: str) -> None:
    index = part.get("index", 0) if isinstance(part, Mapping) else None
    function = part.get("function") or {} if isinstance(part, Mapping) else None
    if type(index) is not int or not isinstance(function, Mapping):
        reason = f"{where}: a piece of a tool call without index or function; remove the row"
        raise RowError("streamed_response", reason)
    call = calls.setdefault(
        index, {"id": None, "type": "function", "function": {"name": None, "arguments": ""}}
    )
    call["id"] = call["id"] or part.get("id")
    call["function"]["name"] = call["function"]["name"] or function.get("name")
    if isinstance(function.get("arguments"), str):
        call["function"]["arguments"] += function["arguments"]
