"""The call objects of Glaive: JSON, but for `arguments`, a JSON text in single quotes."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from tooltune.traces.formats.shared.calls import read_calls
from tooltune.traces.jsonio import RowError, decode_at, show, skip_space
from tooltune.traces.types import ToolCall

_PAIR = re.compile(r"\\(.)", re.DOTALL)


def read_call(text: str, start: int, where: str) -> tuple[tuple[ToolCall, ...], int]:
    """The call (or list of calls) at `text[start]`, and the index behind it.

        {"name": "get_news", "arguments": '{"country": "France"}'}

    Between the single quotes stands JSON; `\\'` there is an apostrophe (JSON has no such escape,
    so nothing else can be meant), and a bare one inside a JSON text is one too. Raises `RowError`.
    """
    if text[start : start + 1] == "{":
        value, end = _read_object(text, start, where)
    else:
        value, end = decode_at(text, start, where)
    return read_calls(value, where), end


def unescape_quotes(text: str) -> str:
    """`\\'` as `'`. JSON texts stay what they are, since none holds that escape."""
    return _PAIR.sub(lambda pair: "'" if pair.group(1) == "'" else pair.group(), text)


def _read_object(text: str, at: int, where: str) -> tuple[dict[str, Any], int]:
    value: dict[str, Any] = {}
    at = skip_space(text, at + 1)
    if text[at : at + 1] == "}":
        return value, at + 1
    while True:
        key, at = decode_at(text, at, where)
        if not isinstance(key, str):
            _fail(text, at, where, "expected a key in double quotes")
        if key in value:
            reason = f"{where}: the key {show(key)} occurs twice in one object; keep one"
            raise RowError("duplicate_key", reason)
        at = _expect(text, at, ":", where)
        value[key], at = _read_value(text, at, f"{where}.{key}")
        at = skip_space(text, at)
        if text[at : at + 1] == "}":
            return value, at + 1
        at = _expect(text, at, ",", where)


def _read_value(text: str, at: int, where: str) -> tuple[Any, int]:
    if text[at : at + 1] != "'":
        return decode_at(text, at, where)
    at = skip_space(text, at + 1)
    if text[at : at + 1] == "'":
        return None, at + 1  # '' holds no arguments
    value, at = decode_at(text, at, where)
    return value, _expect(text, at, "'", where)


def _expect(text: str, at: int, sign: str, where: str) -> int:
    at = skip_space(text, at)
    if text[at : at + 1] != sign:
        _fail(text, at, where, f"expected {sign}")
    return skip_space(text, at + 1)


def _fail(text: str, at: int, where: str, what: str) -> NoReturn:
    reason = f"{where}: {what} before {show(text[at : at + 20], 20)}; write the call as JSON"
    raise RowError("invalid_call", reason)
