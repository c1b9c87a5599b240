"""The tags of Hermes' text: JSON in `<tool_call>`, `<tool_response>` and `<tools>`.

Older rows hold Python's own notation (`{'a': True}`) where newer ones hold JSON; it is translated
token by token, never evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tooltune.traces.formats.shared.blocks import Blocks
from tooltune.traces.formats.shared.calls import read_calls
from tooltune.traces.formats.shared.parts import result_text
from tooltune.traces.formats.shared.python_text import STRING, unescape
from tooltune.traces.jsonio import JSONSyntaxError, RowError, decode_at, loads, skip_space
from tooltune.traces.types import Message

CALL, RESULT, TOOLS = "tool_call", "tool_response", "tools"
_TOKEN = re.compile(rf"(?P<text>{STRING.pattern})|\b(?:True|False|None)\b", re.DOTALL)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_MAX_PYTHON = 1_000_000


def read_values(text: str, start: int, tag: str, where: str) -> tuple[list[Any], int]:
    """The values of a block whose opening tag ends at `start`, and the index behind the block.

    A closing tag inside a JSON string closes nothing. Raises `RowError` (`unclosed_block`, or as
    `decode_at`).
    """
    closer = f"</{tag}>"
    values, at = [], skip_space(text, start)
    try:
        while not text.startswith(closer, at):
            value, at = decode_at(text, at, where)
            values.append(value)
            at = skip_space(text, at)
    except JSONSyntaxError as error:
        end = find_end(text, start, tag, where)
        return _python_values(text[start : end - len(closer)], error, where), end
    return values, at + len(closer)


def find_end(text: str, start: int, tag: str, where: str) -> int:
    """The index behind the next closing tag. Raises `RowError("unclosed_block", ...)`."""
    at = text.find(f"</{tag}>", start)
    if at < 0:
        raise RowError("unclosed_block", f"{where}: <{tag}> is never closed; complete the text")
    return at + len(f"</{tag}>")


def _python_values(text: str, error: RowError, where: str) -> list[Any]:
    """The values of a text in Python's notation; raises `error` where it is none."""

    def as_json(match: re.Match[str]) -> str:
        literal = match["text"]
        return json.dumps(unescape(literal, where)) if literal else _WORDS[match[0]]

    if len(text) > _MAX_PYTHON:
        raise error
    try:
        return [loads(_TOKEN.sub(as_json, text), where)]
    except JSONSyntaxError:
        raise error from None


def read_said(text: str, where: str) -> Blocks:
    """What an assistant text says: `<think>` at its start, then text, then calls.

    Texts lose the white space around the tags. Raises `RowError` (`unclosed_block`,
    `order_not_expressible`, or as `read_values` and `read_calls`).
    """
    said = Blocks()
    body = text.lstrip()
    if body.startswith("<think>"):
        end = find_end(body, 0, "think", where)
        said.think(body[len("<think>") : end - len("</think>")].strip(), where)
        text = body[end:].lstrip()
    at, opener = 0, f"<{CALL}>"
    while (start := text.find(opener, at)) >= 0:
        said.say(text[at:start].strip(), where)
        values, at = read_values(text, start + len(opener), CALL, where)
        said.calls.extend(read_calls(values, where))
    said.say(text[at:], where)
    if any(f"</{CALL}>" in part for part in said.text):
        raise RowError("unclosed_block", f"{where}: </{CALL}> without <{CALL}>; complete the text")
    return said


def read_results(text: str, where: str) -> tuple[list[Message], str]:
    """The tool messages of a text of `<tool_response>` blocks, and the text behind them.

    A block that holds `{"name", "content"}` is unwrapped; any other is the result as it stands.
    Raises `RowError` (`text_outside_block`, `unclosed_block`).
    """
    messages: list[Message] = []
    at, opener = 0, f"<{RESULT}>"
    while (start := text.find(opener, at)) >= 0:
        if text[at:start].strip():
            reason = f"{where}: text before <{RESULT}>; a tool turn holds results only"
            raise RowError("text_outside_block", reason)
        begin = start + len(opener)
        end = find_end(text, begin, RESULT, where)
        try:
            values, at = read_values(text, begin, RESULT, where)
        except RowError:  # a result may be any text
            values, at = [], end
        inner = text[begin : at - len(f"</{RESULT}>")].strip()
        messages.append(_result(values, inner, where))
    return messages, text[at:].strip()


def _result(values: list[Any], text: str, where: str) -> Message:
    value = values[0] if len(values) == 1 else None
    if not isinstance(value, Mapping) or not {"content"} <= set(value) <= {"name", "content"}:
        return Message("tool", text)
    name = value.get("name")
    if name is not None and not isinstance(name, str):
        return Message("tool", text)
    return Message("tool", result_text(value["content"], where), name=name or None)
