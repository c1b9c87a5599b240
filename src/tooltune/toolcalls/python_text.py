"""Python's literals in generated text: where one ends, what it says, whether it was cut off.

Texts with all quotes and escapes and the prefixes r, u and (without braces) f, numbers, the words
True, False and None and JSON's true, false and null; lists, tuples (read as lists) and
dictionaries. Nothing is evaluated. The meaning of a quoted text and of a decimal number is that of
`traces.formats.shared.python_text`, where traces are read.
"""

from __future__ import annotations

import math
import re

from tooltune.toolcalls.nested import Syntax, Value, read_nested
from tooltune.traces.formats.shared.python_text import unescape
from tooltune.traces.jsonio import MAX_DIGITS, RowError

_OPENING = re.compile(r"([rRuUbBfF]{0,2})(\"\"\"|'''|\"|')")
_BODIES = {
    '"': r'[^"\\]*+(?:\\.[^"\\]*+)*+',
    "'": r"[^'\\]*+(?:\\.[^'\\]*+)*+",
    '"""': r'[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*+',
    "'''": r"[^'\\]*+(?:(?:\\.|'(?!''))[^'\\]*+)*+",
}
_BODY = {quote: re.compile(body, re.DOTALL) for quote, body in _BODIES.items()}
_NUMBER = re.compile(
    r"[+-]?(?:0[xXoObB][0-9a-fA-F_]++|(?:[0-9][0-9_]*+(?:\.[0-9_]*+)?|\.[0-9][0-9_]*+)"
    r"(?:[eE][+-]?[0-9][0-9_]*+)?)(?![\w.])"
)
_FEW = 16
_MAX_BITS = MAX_DIGITS * 10 // 3
_FLOAT_SIGN = re.compile(r"[.eE]")
_WORD = re.compile(r"[+-]?[A-Za-z_]\w*+(?:\.\w++)*+")
_WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_QUOTED = "|".join(quote + _BODIES[quote] for quote in ('"""', "'''", '"', "'"))
_PARTIAL = re.compile(
    rf"\s*+(?:[rRuUbBfF]{{0,2}}(?:{_QUOTED})\\?|[+-]?[\w.]*+(?:(?<=[eE])[+-][0-9]*+)?)\s*+",
    re.DOTALL,
)


def read_literal(text: str, start: int, end: int) -> Value | None:
    """The text, number or word that begins at `start`; None where none does."""
    if not "0" <= text[start : start + 1] <= "9" and (opening := _OPENING.match(text, start, end)):
        return _read_quoted(text, opening, end)
    if number := _NUMBER.match(text, start, end):
        return read_number(number)
    if word := _WORD.match(text, start, end):
        known = word[0] in _WORDS
        return Value(word.end(), _WORDS.get(word[0]), sound=known)
    return None


def _read_quoted(text: str, opening: re.Match[str], end: int) -> Value:
    prefix, quote = opening[1].lower(), opening[2]
    body = _BODY[quote].match(text, opening.end(), end)
    assert body is not None
    if not text.startswith(quote, body.end(), end):
        return Value(opening.start(), whole=False)
    after = body.end() + len(quote)
    if "b" in prefix or ("f" in prefix and re.search("[{}]", body[0])):
        return Value(after, sound=False)
    if "r" in prefix:
        return Value(after, body[0])
    return unescaped(quote + body[0] + quote, after)


def unescaped(literal: str, end: int) -> Value:
    """The text that a quoted `literal` stands for; two halves of a surrogate pair are one sign."""
    try:
        value = unescape(literal, "")
        if "\\" in literal:
            value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except (RowError, UnicodeDecodeError):
        return Value(end, sound=False)
    return Value(end, value)


def match_number(text: str, start: int, end: int) -> Value | None:
    """The number that begins at `start`, if one does."""
    number = _NUMBER.match(text, start, end)
    return read_number(number) if number else None


def read_number(number: re.Match[str]) -> Value:
    """What a number says; not `sound` where it is not finite, has too many digits, or a 0 first."""
    digits = number[0]
    try:
        if len(digits) < _FEW and digits.isdecimal():  # most often
            return Value(number.end(), int(digits, 0))
        if "x" in digits.lower() or not _FLOAT_SIGN.search(digits):
            whole = int(digits, 0)
            return Value(number.end(), whole, sound=whole.bit_length() <= _MAX_BITS)
        real = float(digits)
    except ValueError:
        return Value(number.end(), sound=False)
    return Value(number.end(), real, sound=math.isfinite(real))


PYTHON = Syntax({"[": "]", "(": ")", "{": "}"}, read_literal, read_literal)


def read_value(text: str, start: int, end: int) -> Value:
    """Read the Python value that begins at `start` (white space skipped), never past `end`."""
    if text[start : start + 1].isalnum() and (literal := read_literal(text, start, end)):
        return literal  # what `read_nested` would find, most often
    return read_nested(text, start, end, PYTHON)


def is_partial(text: str, broken: int, end: int) -> bool:
    """Whether only the beginning of a value, or nothing, lies between `broken` and `end`.

    Then a value whose grammar broke at `broken` was cut off rather than wrong.
    """
    return broken >= end or _PARTIAL.fullmatch(text, broken, end) is not None
