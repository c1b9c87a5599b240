"""Bodies of requests and responses, which logs keep as objects, JSON text or streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.logs.chunks import is_chunk, join_chunks, read_events
from tooltune.traces.formats.shared.calls import parse_text
from tooltune.traces.jsonio import RowError

_SHAPES: dict[str, type] = {
    "choices": list,
    "candidates": list,
    "output": list,
    "message": dict,
    "generations": list,
    "messages": list,
    "error": dict,
}
"""Keys by which JSON text is known to be a body, not what the model said, and their types."""


def body_of(value: Any, where: str) -> Any:
    """The body of an HTTP message, or the value itself; objects in JSON text are read."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        value = parse_text(value, where)
    if isinstance(value, Mapping) and "body" in value:
        return body_of(value["body"], f"{where}.body")
    return value


def parse_answer(response: Any, where: str) -> Any:
    """A response's body: JSON text and streams read, unless the text is what the model said.

    Raises `RowError` (`streamed_response`, `incomplete_response`, or as `loads`).
    """
    if isinstance(response, str) and response.startswith(("data:", "event:")):
        return join_chunks(read_events(response, where), where)
    body = response
    if isinstance(response, str) and response.lstrip().startswith(("{", "[")):
        try:
            body = parse_text(response, where)
        except RowError:
            return response
    if isinstance(body, (list, tuple)) and any(map(is_chunk, body)):
        return join_chunks(body, where)
    return body if body is response or _is_body(body) else response


def _is_body(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    shaped = any(isinstance(value.get(key), kind) for key, kind in _SHAPES.items())
    return shaped or value.get("role") == "assistant" or "body" in value
