"""From the JSON of a reply to an answer; whatever is in it, only ServerFault is raised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from tooltune.evaluate.server.client import ServerFault, error_message
from tooltune.evaluate.server.types import Mode, ServerAnswer
from tooltune.toolcalls.payload import as_arguments
from tooltune.toolcalls.types import ParsedToolCall

_CUT = ("length", "max_tokens", "model_length")
_NO_ANSWER = {
    "content_filter": "content_filter",
    "abort": "aborted",
    "aborted": "aborted",
    "error": "server_error",
}


def read_answer(reply: Mapping[str, Any], mode: Mode) -> ServerAnswer:
    """The first choice of a reply. Raises ServerFault (`bad_answer`) where there is none."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        said = f": {error_message(json.dumps(reply))[:200]}" if reply.get("error") else ""
        raise ServerFault("bad_answer", f"the reply has no choices{said}")
    choice = choices[0]
    finish, error = _finish(choice.get("finish_reason"))
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    if mode == "chat":
        text, reasoning, calls = _message(choice)
    else:
        if not isinstance(choice.get("text"), str):
            raise ServerFault("bad_answer", "the choice has no text")
        text, reasoning, calls = choice["text"], None, None
    return ServerAnswer(
        text=text,
        reasoning=reasoning,
        calls=calls,
        finish_reason=finish,
        error=error,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _message(
    choice: Mapping[str, Any],
) -> tuple[str, str | None, tuple[ParsedToolCall, ...]]:
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ServerFault("bad_answer", "the choice has no message")
    given = message.get("tool_calls") or []
    if not isinstance(given, list):
        raise ServerFault("bad_answer", "tool_calls is no list")
    if not given and message.get("function_call"):  # as before tool_calls existed
        given = [{"function": message["function_call"]}]
    reasoning = next(
        (
            message[key]
            for key in ("reasoning_content", "reasoning")
            if isinstance(message.get(key), str) and message[key].strip()
        ),
        None,
    )
    text = _text(message.get("content")) or _text(message.get("refusal"))
    return text, reasoning, tuple(read_call(call) for call in given)


def read_call(call: Any) -> ParsedToolCall:
    """One entry of `tool_calls`. An absent or empty `arguments` is a call without any."""
    raw = json.dumps(call, ensure_ascii=False)
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return ParsedToolCall(None, {}, False, raw, "malformed", (0, 0))
    name = function.get("name")
    name = name if isinstance(name, str) and name.strip() else None
    given = function.get("arguments")
    arguments, status = as_arguments({} if given is None or given == "" else given)
    if status == "ok" and name is None:
        status = "missing_name"
    return ParsedToolCall(name, arguments or {}, arguments is not None, raw, status, (0, 0))


def _text(content: Any) -> str:
    """A content as text: itself, or the text of its parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _finish(reason: Any) -> tuple[Literal["stop", "length", "error"], str | None]:
    if isinstance(reason, dict):  # SGLang's own form
        reason = reason.get("type")
    if isinstance(reason, str) and reason in _NO_ANSWER:
        return "error", _NO_ANSWER[reason]
    return ("length", None) if reason in _CUT else ("stop", None)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
