"""Calls written as a Python list of keyword calls: `[get_time(zone="CET"), Web Search(n=[1, 2])]`.

The call syntax of BFCL's prompts and of ToolACE. Names may hold what no Python name may (spaces,
slashes, dots), so this is a scanner of its own: literals only, one pass, bounded depth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from tooltune.traces.formats.shared.python_text import NUMBER, STRING, read_number, unescape
from tooltune.traces.jsonio import MAX_DEPTH, RowError, check_value, show
from tooltune.traces.types import ToolCall

_NAME = re.compile(r"[^()\[\]{}\"'=,\n]+")
_KEY = re.compile(r"([^\s()\[\]{}\"'=,][^()\[\]{}\"'=,\n]*)=")
_WORD = re.compile(r"[A-Za-z]+")
_SPACE = re.compile(r"\s*")
_CLOSED = re.compile(r"\)\s*,?\s*\]\Z")
_WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class ToolNames:
    """The names of the tools offered.

    `odd` are those that hold a character at which other names end, `heads` what of them stands
    before the first parenthesis.
    """

    known: frozenset[str] = frozenset()
    odd: frozenset[str] = frozenset()
    heads: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> ToolNames:
        known = frozenset(name for name in names if len(name) <= _LONGEST_NAME)
        odd = frozenset(name for name in known if _NAME.fullmatch(name) is None)
        return cls(known, odd, frozenset(name.partition("(")[0].rstrip() for name in odd))


NO_NAMES = ToolNames()


def looks_like_calls(text: str, names: ToolNames = NO_NAMES) -> bool:
    """Whether a text claims to be a call list: `[name(` with `)]` at its end or a known name."""
    text = text.strip()
    if not text.startswith("["):
        return False
    name = _Scanner(text, "", names, 1).name()
    return name is not None and (name in names.known or _CLOSED.search(text[-200:]) is not None)


def parse_calls(text: str, where: str, names: ToolNames = NO_NAMES) -> tuple[ToolCall, ...]:
    """Read a call list; `names` are the tools offered, needed where a name holds a parenthesis.

    Values are Python literals, and JSON's `true`, `false` and `null`; tuples become lists.
    Raises `RowError` (`invalid_call`, `duplicate_key`, or as `jsonio.check_value`).
    """
    scan = _Scanner(text.strip(), where, names)
    scan.expect("[")
    calls = [ToolCall(name, arguments) for name, arguments in scan.items("]", scan.call)]
    if scan.pos != len(scan.text):
        scan.fail("text behind the list")
    if not calls:
        scan.fail("the list is empty")
    for call in calls:
        check_value(dict(call.arguments), where)
    return tuple(calls)


@dataclass(slots=True)
class _Scanner:
    text: str
    where: str
    names: ToolNames
    pos: int = 0
    comma: bool = False

    def fail(self, what: str) -> NoReturn:
        near = show(self.text[self.pos : self.pos + 20], 20)
        reason = f"{self.where}: {what} at character {self.pos + 1} ({near}); "
        raise RowError("invalid_call", f"{reason}write [name(key=value, ...)]")

    def peek(self) -> str:
        """The next character that is no white space, or "" at the end; `pos` moves to it."""
        self.pos = _SPACE.match(self.text, self.pos).end()  # type: ignore[union-attr]
        return self.text[self.pos : self.pos + 1]

    def expect(self, sign: str) -> None:
        if self.peek() != sign:
            self.fail(f"expected {sign}")
        self.pos += 1

    def items(self, close: str, read: Callable[[], Any]) -> list[Any]:
        """Items up to `close`, separated by commas; `comma`: one stood behind the last."""
        found = []
        comma = False
        while self.peek() != close:
            found.append(read())
            comma = self.peek() != close
            if comma:
                self.expect(",")
        self.pos += 1
        self.comma = comma
        return found

    def name(self) -> str | None:
        """The name before the next `(`, `pos` then behind it; None where there is none."""
        self.peek()
        if self.names.odd and (name := self.odd_name()):
            return name
        match = _NAME.match(self.text, self.pos)
        if match is None or self.text[match.end() : match.end() + 1] != "(":
            return None
        self.pos = match.end() + 1
        return match.group().strip() or None

    def odd_name(self) -> str | None:
        """As `name`, for the names that hold what ends other names."""
        end = self.pos + _LONGEST_NAME + 1
        at = self.text.find("(", self.pos, end)
        if self.text[self.pos : max(at, self.pos)].rstrip() not in self.names.heads:
            return None
        while at >= 0:
            name = self.text[self.pos : at].rstrip()
            if name in self.names.odd:
                self.pos = at + 1
                return name
            at = self.text.find("(", at + 1, end)
        return None

    def call(self) -> tuple[str, dict[str, Any]]:
        name = self.name()
        if name is None:
            self.fail("expected name(")
        return name, self.unique(self.items(")", self.argument))

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            reason = f"{self.where}: a key stands twice before character {self.pos + 1}; keep one"
            raise RowError("duplicate_key", reason)
        return dict(pairs)

    def argument(self) -> tuple[str, Any]:
        key = _KEY.match(self.text, self.pos)
        if key is None:
            self.fail("expected key=value")
        self.pos = key.end()
        return key.group(1).strip(), self.value(1)

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise RowError("too_deep", f"{self.where}: nested more than {MAX_DEPTH} levels deep")
        sign = self.peek()
        if sign in ("[", "(", "{"):
            self.pos += 1
            return self.nested(sign, depth + 1)
        if string := STRING.match(self.text, self.pos):
            self.pos = string.end()
            return unescape(string.group(), self.where)
        if number := NUMBER.match(self.text, self.pos):
            self.pos = number.end()
            return read_number(number.group(), self.where)
        word = _WORD.match(self.text, self.pos)
        if word is None or word.group() not in _WORDS:
            self.fail("expected a text in quotes, a number, a list, an object, True, False or None")
        self.pos = word.end()
        return _WORDS[word.group()]

    def nested(self, opened: str, depth: int) -> Any:
        if opened == "{":
            return self.unique(self.items("}", lambda: self.member(depth)))
        values = self.items("]" if opened == "[" else ")", lambda: self.value(depth))
        in_brackets = opened == "(" and len(values) == 1 and not self.comma
        return values[0] if in_brackets else values

    def member(self, depth: int) -> tuple[str, Any]:
        key = self.value(depth)
        if not isinstance(key, str):
            self.fail("expected a key in quotes")
        self.expect(":")
        return key, self.value(depth)
