"""Strict JSON: every input has one defined outcome, a value or a `RowError`, never a crash.

Beyond RFC 8259 this refuses what later breaks a tokenizer, a template or a file we write:
duplicate keys, NaN and infinities, numbers that overflow, lone surrogates, NUL characters and
nesting that exhausts the stack. Used for rows, and for the JSON texts inside them.
"""

from __future__ import annotations

import json
import math
import re
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from typing import Any

MAX_DEPTH = 100
"""Levels of nesting that are accepted; templates and `json.dumps` recurse."""

MAX_INSIDE = MAX_DEPTH - 12
"""Levels that a call's arguments or a tool's schema may have: its row adds some around them, and
what is accepted in one format must not be too deep for the row that `convert` writes."""

MAX_DIGITS = 4_200
"""Digits of an integer that are accepted; Python itself refuses to print more than 4,300."""

_BOM = b"\xef\xbb\xbf"
_BAD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(r"[^,\]\s]+")


class RowError(ValueError):
    """Why one row was not accepted: a stable `code` and a `reason` that names place and fix."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return RowError, (self.code, self.reason)  # the default would lose the reason


class JSONSyntaxError(RowError):
    """A text that is not JSON; `line` and `column` are 1-based, `what` says what is wrong there.

    `position` is the index of the place in the text.
    """

    def __init__(self, error: json.JSONDecodeError, where: str) -> None:
        self.what, self.line, self.column = error.msg, error.lineno, error.colno
        self.position = error.pos
        place = f"line {self.line}, column {self.column}"
        super().__init__(
            "invalid_json",
            f"{where}: not JSON at {place}: {error.msg}; write it with a JSON library",
        )


def show(value: Any, length: int = 60) -> str:
    """A short printable ASCII form of any value, for error texts."""
    text = ascii(value[:length] if isinstance(value, str) else value)
    return text if len(text) <= length + 2 else text[:length] + "..."


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise RowError(
            "duplicate_key", f"the key {show(twice)} occurs twice in one object; keep one"
        )
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise RowError("non_finite_number", f"{show(text)} is no finite number; write null or text")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        reason = f"an integer of {len(text):,} digits (at most {MAX_DIGITS:,}); write it as text"
        raise RowError("number_too_long", reason)
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=_finite, parse_int=_integer, parse_constant=_finite
)


def decode_at(text: str, start: int, where: str) -> tuple[Any, int]:
    """Read the JSON value that starts at `text[start]`; return it and the index behind it.

    Raises `JSONSyntaxError` where the text is not JSON, any other `RowError` where it is JSON
    that is refused.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RowError as error:
        raise RowError(error.code, f"{where}: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise JSONSyntaxError(error, where) from None
    except RecursionError:
        raise _too_deep(where) from None
    if _needs_check(text, start, end):
        check_value(value, where)
    return value, end


def _needs_check(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` can hold a surrogate, a NUL or deep nesting (cheap, no misses)."""
    brackets = text.count("{", start, end) + text.count("[", start, end)
    if brackets > MAX_DEPTH or _BAD_ESCAPE.search(text, start, end):
        return True
    return not text.isascii() and _SURROGATE.search(text, start, end) is not None


def loads(text: str | bytes, where: str = "row") -> Any:
    """Read one JSON text; `where` names it in the reason. A byte order mark is skipped.

    Raises `RowError` with code `not_utf8`, `invalid_json`, `duplicate_key`, `non_finite_number`,
    `number_too_long`, `lone_surrogate`, `nul_character` or `too_deep`.
    """
    text = decode_utf8(text, where) if isinstance(text, bytes) else text.removeprefix("\ufeff")
    value, end = decode_at(text, skip_space(text, 0), where)
    end = skip_space(text, end)
    if end != len(text):
        raise JSONSyntaxError(json.JSONDecodeError("Extra data", text, end), where)
    return value


def decode_utf8(data: bytes, where: str) -> str:
    """Bytes to text without byte order mark; raises `RowError("not_utf8", ...)`."""
    try:
        return data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"{where}: byte {error.start} is not UTF-8 ({error.reason}); save it as UTF-8"
        raise RowError("not_utf8", reason) from None


def skip_space(text: str, start: int) -> int:
    """Index of the first character at or behind `start` that is no JSON white space."""
    end: int = WHITESPACE.match(text, start).end()
    return end


def skip_value(text: str, start: int) -> int | None:
    """Index behind the value at `start`, found by its brackets alone; `None` if they never close.

    For values that `decode_at` refused, so that the rows behind them can still be read.
    """
    if text[start] not in '"[{':
        scalar = _SCALAR.match(text, start)
        return scalar.end() if scalar else None
    depth = 0
    for token in _STRUCTURE.finditer(text, start):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth <= 0:
            return token.end()
    return None


def check_value(value: Any, where: str = "row") -> None:
    """Raise `RowError` unless `value` is a JSON value that can be written, printed and tokenized.

    Walks without recursion, so that hostile nesting cannot exhaust the stack.
    """
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            _check_text(item, where)
        elif isinstance(item, (dict, list, tuple)):
            if depth > MAX_DEPTH:
                raise _too_deep(where)
            if isinstance(item, dict):
                for key in item:
                    _check_key(key, where)
                item = item.values()
            stack.extend((child, depth + 1) for child in item)
        else:
            _check_scalar(item, where)


def _check_key(key: Any, where: str) -> None:
    if not isinstance(key, str):
        raise RowError("not_json", f"{where}: the key {show(key)} is no text")
    _check_text(key, where)


def _check_text(text: str, where: str) -> None:
    if "\0" in text:
        raise RowError("nul_character", f"{where}: a text holds the NUL character; remove it")
    if not text.isascii() and _SURROGATE.search(text):
        reason = f"{where}: a text holds half of a surrogate pair; repair or remove it"
        raise RowError("lone_surrogate", reason)


def _check_scalar(value: Any, where: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if value.bit_length() > MAX_DIGITS * 10 // 3:
            raise RowError("number_too_long", f"{where}: an integer of over {MAX_DIGITS:,} digits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise RowError("non_finite_number", f"{where}: {value} is no finite number")
    else:
        kind = type(value).__name__
        raise RowError("not_json", f"{where}: a value of type {kind} is not JSON; write it as text")


def _too_deep(where: str) -> RowError:
    return RowError("too_deep", f"{where}: nested more than {MAX_DEPTH} levels deep; flatten it")
