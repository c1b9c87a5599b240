"""Nested values in syntaxes that are not JSON: lists and objects of literals, read in one pass.

What the Python and the Gemma syntax share. The walk has its own stack (deep nesting cannot exhaust
Python's), is linear in the characters walked, and stops at the first character that cannot belong,
so that the caller knows where a value ends and can tell a truncated value from a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tooltune.toolcalls.json_text import MAX_DEPTH, skip_space


class Value(NamedTuple):
    """A value read: `end` is the index after it, or where the grammar broke if not `whole`.

    Where not `sound`, the extent is known and JSON has no such value (NaN, a key that stands
    twice, an escape that names no character).
    """

    end: int
    value: Any = None
    whole: bool = True
    sound: bool = True


class Syntax(NamedTuple):
    """`brackets` maps openers to closers; "{" opens an object, all others a list.

    `literal(text, pos, end)` reads a value without brackets, `key(text, pos, end)` an object's
    key; both give None where none begins.
    """

    brackets: Mapping[str, str]
    literal: Callable[[str, int, int], Value | None]
    key: Callable[[str, int, int], Value | None]


class _Bracket:
    """An open bracket and what was read in it; `sound` until a key stands twice."""

    __slots__ = ("closer", "comma", "is_object", "items", "key", "members", "sound")

    def __init__(self, closer: str) -> None:
        self.closer = closer
        self.is_object = closer == "}"
        self.comma = False
        self.items: list[Any] = []
        self.members: dict[str, Any] = {}
        self.key: str | None = None
        self.sound = True

    def add(self, value: Any) -> None:
        if self.key is None:
            self.items.append(value)
            return
        if self.key in self.members:
            self.sound = False
        self.members[self.key] = value
        self.key = None

    def value(self) -> Any:
        if self.is_object:
            return self.members
        in_parentheses = self.closer == ")" and len(self.items) == 1 and not self.comma
        return self.items[0] if in_parentheses else self.items


def read_nested(text: str, start: int, end: int, syntax: Syntax) -> Value:
    """Read the value that begins at `start` (white space skipped), never past `end`.

    A comma may stand behind the last item. Nesting beyond `MAX_DEPTH` breaks the grammar.
    """
    brackets, read_literal, read_key = syntax
    stack: list[_Bracket] = []
    top: _Bracket | None = None  # the last of `stack`
    sound = True
    pos = start
    while True:
        pos = skip_space(text, pos, end)
        sign = text[pos] if pos < end else ""
        if top is not None and sign == top.closer and top.key is None:
            stack.pop()
            value, pos = top.value(), pos + 1
            sound = sound and top.sound
            top = stack[-1] if stack else None
        elif top is not None and top.is_object and top.key is None:
            key = read_key(text, pos, end)
            colon = skip_space(text, key.end, end) if key and key.whole else pos
            if key is None or not key.whole or not text.startswith(":", colon, end):
                return Value(colon, whole=False)
            is_text = isinstance(key.value, str)
            sound = sound and key.sound and is_text
            top.key = key.value if is_text else ""
            pos = colon + 1
            continue
        elif sign in brackets:
            if len(stack) == MAX_DEPTH:
                return Value(pos, whole=False)
            top = _Bracket(brackets[sign])
            stack.append(top)
            pos += 1
            continue
        else:
            literal = read_literal(text, pos, end)
            if literal is None or not literal.whole:
                return Value(pos, whole=False)
            pos, value, _, is_sound = literal
            sound = sound and is_sound
        if top is None:
            return Value(pos, value, True, sound)
        top.add(value)
        pos = skip_space(text, pos, end)
        if text.startswith(",", pos, end):
            top.comma = True
            pos += 1
        elif not text.startswith(top.closer, pos, end):
            return Value(pos, whole=False)
