"""Python's text and number literals, read exactly; nothing is evaluated."""

from __future__ import annotations

import math
import re

from tooltune.traces.jsonio import MAX_DIGITS, RowError, show

STRING = re.compile(
    r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""'
    r"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"
    r'|"[^"\\]*(?:\\.[^"\\]*)*"'
    r"|'[^'\\]*(?:\\.[^'\\]*)*'",
    re.DOTALL,
)
"""One text literal without prefix. Line ends may stand in all of them."""

NUMBER = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?![\w.])", re.ASCII)

_INTEGER = re.compile(r"[+-]?(?:0+|[1-9]\d*)")
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_PLAIN: dict[str, str] = dict(
    zip("\n\\'\"abfnrtv", ["", "\\", "'", '"', *"\a\b\f\n\r\t\v"], strict=True)
)


def unescape(literal: str, where: str) -> str:
    """The text that a literal matched by `STRING` stands for.

    As Python reads it, but a raw line end stays as it is. An unknown escape such as `\\d` keeps
    its backslash. Raises `RowError("invalid_escape", ...)` for what no text can be made of.
    """
    width = 3 if literal[:3] in ('"""', "'''") and len(literal) >= 6 else 1
    body = literal[width:-width]

    def replace(match: re.Match[str]) -> str:
        groups: tuple[str, ...] = match.groups("")
        octal, short, middle, long, plain = groups
        if not plain:
            code = int(octal, 8) if octal else int(short or middle or long, 16)
            return chr(code) if code <= 0x10FFFF else refuse(match)
        if plain in "xuUN":
            return refuse(match)
        return _PLAIN.get(plain, "\\" + plain)

    def refuse(match: re.Match[str]) -> str:
        near = show(body[match.start() : match.start() + 12], 12)
        reason = f"{where}: the escape {near} names no character; write the character itself"
        raise RowError("invalid_escape", reason)

    return _ESCAPE.sub(replace, body)


def read_number(literal: str, where: str) -> int | float:
    """The number that a literal matched by `NUMBER` stands for.

    Raises `RowError` (`invalid_call` for leading zeros, `number_too_long`, `non_finite_number`).
    """
    if _INTEGER.fullmatch(literal):
        if len(literal) > MAX_DIGITS:
            reason = f"{where}: an integer of over {MAX_DIGITS:,} digits; write it as text"
            raise RowError("number_too_long", reason)
        return int(literal)
    if literal.lstrip("+-").isdigit():
        reason = f"{where}: {show(literal, 20)} starts with 0; write a number, or a text in quotes"
        raise RowError("invalid_call", reason)
    value = float(literal)
    if not math.isfinite(value):
        reason = f"{where}: {show(literal, 20)} is no finite number; write null or text"
        raise RowError("non_finite_number", reason)
    return value
