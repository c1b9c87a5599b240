"""JSON inside generated text: where a value ends, what it holds, whether two values are equal.

`json` alone does not do: it says how a text is broken in time proportional to the text before the
break, recurses into nesting, lets duplicate keys and NaN through, and does not tell a truncated
value from a wrong one. Here the scanner walks the grammar of RFC 8259 without recursion and stops
at the first character that cannot belong; `json` then reads only what is known to be whole.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 200
"""Deeper nesting counts as invalid: no tool call needs it, and readers recurse into it."""

WS = r"[ \t\n\r]*+"
CHARS = r'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
# NaN and Infinity are scanned as words, so that the value's extent is known; reading rejects them.
_VALUE = re.compile(
    rf'{WS}(?:([\[{{])|"{CHARS}"|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?'
    r"|true|false|null|NaN|-?Infinity)"
)
_KEY = re.compile(rf'{WS}"{CHARS}"{WS}:')
_NEXT = re.compile(rf"{WS}([,\]}}])")
_CLOSER = re.compile(rf"{WS}([\]}}])")
_PARTIAL = re.compile(
    rf'{WS}(?:"{CHARS}(?:"{WS}|\\(?:u[0-9a-fA-F]{{0,3}})?)?'
    r"|-?[0-9]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?|t|tr|tru|f|fa|fal|fals|n|nu|nul)?"
)
_SPACE = re.compile(r"\s*+")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class InvalidJSON(ValueError):
    """A text that is not one strict JSON value."""


def skip_space(text: str, start: int, end: int) -> int:
    """The first index from `start` on that holds no white space (`end` where there is none)."""
    if start < end and not text[start].isspace():
        return start  # most often
    match = _SPACE.match(text, start, end)
    assert match is not None
    return match.end()


def scan_json(text: str, start: int, end: int) -> tuple[int, bool]:
    """Walk the JSON value that begins at `start`, never reading past `end`.

    Returns `(index after the value, True)`, or `(index where the grammar broke, False)`. Time is
    linear in the characters walked; nesting beyond `MAX_DEPTH` breaks.
    """
    open_brackets: list[str] = []
    pos = start
    while True:
        value = _VALUE.match(text, pos, end)
        if value is None:
            return pos, False
        pos = value.end()
        if bracket := value[1]:
            open_brackets.append("}" if bracket == "{" else "]")
            if len(open_brackets) > MAX_DEPTH:
                return value.start(1), False
            closer = _CLOSER.match(text, pos, end)
            if closer is None:
                if bracket == "[":
                    continue
                if (key := _KEY.match(text, pos, end)) is None:
                    return pos, False
                pos = key.end()
                continue
        while open_brackets:
            follow = _NEXT.match(text, pos, end)
            if follow is None or follow[1] not in ("," + open_brackets[-1]):
                return pos, False
            pos = follow.end()
            if follow[1] == ",":
                break
            open_brackets.pop()
        else:
            return pos, True
        if open_brackets[-1] == "}":
            if (key := _KEY.match(text, pos, end)) is None:
                return pos, False
            pos = key.end()


def is_truncated(text: str, broken: int, end: int) -> bool:
    """Whether a value whose grammar broke at `broken` would be fine so far if more text came.

    True where nothing, or only the beginning of a string, number or word, lies between `broken`
    and `end`.
    """
    return _PARTIAL.fullmatch(text, broken, end) is not None


def read_json(text: str) -> Any:
    """Read one strict JSON value, white space around it allowed.

    Raises `InvalidJSON` for anything else, and for what `read_scanned` refuses.
    """
    after, whole = scan_json(text, 0, len(text))
    if not whole or skip_space(text, after, len(text)) != len(text):
        raise InvalidJSON(f"not one JSON value (at character {after})")
    return read_scanned(text)


def read_scanned(text: str) -> Any:
    """Read a text that `scan_json` found to be one whole value.

    Raises `InvalidJSON` for what the grammar allows and no two readers agree on: duplicate keys,
    numbers that are not finite or have more digits than Python converts (4,300), and lone
    surrogates.
    """
    try:
        value = _DECODER.decode(text)
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # no file could hold a lone surrogate
    except (ValueError, RecursionError) as error:
        raise InvalidJSON(str(error)) from None
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidJSON("duplicate key in an object")
    return result


def _refuse_constant(word: str) -> Any:
    raise InvalidJSON(f"{word} is not a JSON number")


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InvalidJSON(f"{digits} is beyond a double")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite_float
)


def json_equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: `True` is not 1, but 1 is 1.0; key order is no matter."""
    pairs = [(left, right)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if a.keys() != b.keys():
                return False
            pairs.extend((a[key], b[key]) for key in a)
        elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif isinstance(a, bool) or isinstance(b, bool):
            if a is not b:
                return False
        elif a != b:
            return False
    return True
