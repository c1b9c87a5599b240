"""Calls that failed and that a later call mended: what a model should not learn to make.

A *result is an error* if it is marked so by the data (`is_error`), if it is a JSON object with a
key `error` or `errors` that holds something, `success` or `ok` that is false, `status` that is
"error", "failed" or "failure", or `isError`/`is_error` that is true; or if it is text that begins
with Traceback, ERROR, `error:`, or a word that ends in Error or Exception (`ValueError: ...`).

A later call *mends* it if it calls the same tool with other arguments and its result is no error.
The same call made again, now with success, mends nothing: there was nothing wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.traces import jsonio
from tooltune.traces.jsonio import RowError
from tooltune.traces.types import Message, ToolCall, Trace

_ERROR_TEXT = re.compile(r"\s*(?:\w*(?:Error|Exception)|ERROR|Traceback|error(?=:))(?![-\w])")
_FAILED = ("error", "failed", "failure")


def mended_failures(trace: Trace) -> tuple[int, ...]:
    """Indices of the assistant messages with a call that failed and was mended later."""
    answered = _answers(trace.messages)
    return tuple(
        dict.fromkeys(
            index
            for position, (index, call, failed) in enumerate(answered)
            if failed
            and any(
                later.name == call.name and later.arguments != call.arguments and not still
                for _, later, still in answered[position + 1 :]
            )
        )
    )


def is_error(result: Message) -> bool:
    """Whether a tool message reports an error, as the module's head defines it."""
    if result.is_error:
        return True
    text = result.content or ""
    if text.lstrip().startswith("{"):
        try:
            value = jsonio.loads(text)
        except RowError:
            return False
        return isinstance(value, Mapping) and _says_error(value)
    return _ERROR_TEXT.match(text) is not None


def _says_error(value: Mapping[str, Any]) -> bool:
    status = value.get("status")
    return (
        bool(value.get("error") or value.get("errors"))
        or value.get("success") is False
        or value.get("ok") is False
        or (isinstance(status, str) and status.lower() in _FAILED)
        or value.get("isError") is True
        or value.get("is_error") is True
    )


def _answers(messages: Sequence[Message]) -> list[tuple[int, ToolCall, bool]]:
    """(message index, call, whether its result is an error) of the calls that were answered.

    A result belongs to the call with its id; one without a known id to the first call of the last
    message with calls that still waits.
    """
    answered: list[tuple[int, ToolCall, bool]] = []
    waiting: list[tuple[int, ToolCall]] = []
    for index, message in enumerate(messages):
        if message.tool_calls:
            waiting = [(index, call) for call in message.tool_calls]
        elif message.role == "tool" and waiting:
            own = [pair for pair in waiting if pair[1].id and pair[1].id == message.tool_call_id]
            pair = (own or waiting)[0]
            waiting.remove(pair)
            answered.append((*pair, is_error(message)))
    return answered
