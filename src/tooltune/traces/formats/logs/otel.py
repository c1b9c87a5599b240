"""OpenTelemetry spans and events of model calls, to OpenAI messages.

The GenAI semantic conventions (opentelemetry.io/docs/specs/semconv/gen-ai) hold messages as
attributes, JSON or the text of it, whose schemas are gen-ai-input-messages.json,
gen-ai-output-messages.json, gen-ai-system-instructions.json and gen-ai-tool-definitions.json:

    {"attributes": {"gen_ai.input.messages": [{"role": "user", "parts": [
                        {"type": "text", "content": "..."}]}],
                    "gen_ai.output.messages": [{"role": "assistant", "finish_reason": "tool_call",
                        "parts": [{"type": "tool_call", "id": ..., "name": ..., "arguments": {}}]}],
                    "gen_ai.system_instructions": [parts], "gen_ai.tool.definitions": [...],
                    "gen_ai.conversation.id": "..."}}

The attributes may also stand in the row itself, or be OTLP's list of `{"key", "value"}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.shared.calls import parse_text
from tooltune.traces.jsonio import RowError, show

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
_SYSTEM, _TOOLS = "gen_ai.system_instructions", "gen_ai.tool.definitions"


def attributes_of(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The GenAI attributes of a span or event; None where the row is none."""
    found = row.get("attributes", row)
    if isinstance(found, (list, tuple)):
        found = _plain(found)
    return found if isinstance(found, Mapping) and (INPUT in found or OUTPUT in found) else None


def read_span(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The request and the answer's messages, in OpenAI form; finish reasons stay on the latter.

    Raises `RowError` (`messages_not_a_list`, `unsupported_part`, or as `loads`).
    """
    messages = [m for i, one in enumerate(_list(attributes, INPUT)) for m in _read(one, INPUT, i)]
    system = _list(attributes, _SYSTEM)
    if system:
        messages[:0] = _read({"role": "system", "parts": system}, _SYSTEM, 0)
    request: dict[str, Any] = {"messages": messages}
    tools = parse_text(attributes.get(_TOOLS), _TOOLS)
    if tools is not None:
        request["tools"] = tools
    outputs = _list(attributes, OUTPUT)[:1]  # several are alternatives, as choices are
    return request, [m for i, one in enumerate(outputs) for m in _read(one, OUTPUT, i)]


def _list(attributes: Mapping[str, Any], key: str) -> list[Any]:
    value = parse_text(attributes.get(key), key)
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise RowError("messages_not_a_list", f"{key} is {show(value)}; write a list")
    return list(value)


def _read(message: Any, key: str, index: int) -> list[dict[str, Any]]:
    """One message, and before it the results that it holds, which are messages of their own."""
    where = f"{key}[{index}]"
    parts = message.get("parts") if isinstance(message, Mapping) else None
    if not isinstance(parts, (list, tuple)):
        raise RowError("messages_not_a_list", f"{where}.parts is {show(parts)}; write a list")
    results: list[dict[str, Any]] = []
    said: dict[str, Any] = {
        key: message[key] for key in ("role", "finish_reason") if key in message
    }
    for i, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            said["content"] = said.get("content", "") + _text(part, f"{where}.parts[{i}]")
        elif kind == "reasoning":
            text = said.get("reasoning_content", "") + _text(part, f"{where}.parts[{i}]")
            said["reasoning_content"] = text
        elif kind == "tool_call":
            function = {"name": part.get("name"), "arguments": part.get("arguments")}
            said.setdefault("tool_calls", []).append({"id": part.get("id"), "function": function})
        elif kind == "tool_call_response":
            content = part.get("response", part.get("result"))  # `result` in older versions
            results.append({"role": "tool", "tool_call_id": part.get("id"), "content": content})
        else:
            reason = (
                f"{where}.parts[{i}] is of type {show(kind)}; only text and calls can be learnt"
            )
            raise RowError("unsupported_part", f"{reason}: remove the row")
    return results if results and len(said) <= 1 else [*results, said]


def _text(part: Mapping[str, Any], where: str) -> str:
    content = part.get("content")
    if not isinstance(content, str):
        raise RowError("content_not_text", f"{where}.content is {show(content)}; write text")
    return content


def _plain(value: Any) -> Any:
    """A value of OTLP's JSON encoding (opentelemetry-proto, common.proto: AnyValue, KeyValue)."""
    if isinstance(value, (list, tuple)):
        pairs = [
            one for one in value if isinstance(one, Mapping) and isinstance(one.get("key"), str)
        ]
        return {one["key"]: _plain(one.get("value")) for one in pairs}
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    (kind, inner), *_ = value.items()
    values = inner.get("values") if isinstance(inner, Mapping) else None
    if kind == "kvlistValue":
        return _plain(values or ())
    if kind == "arrayValue":
        return [_plain(one) for one in values or ()]
    return inner
