"""Nearly-JSON, read for what it must have meant: what models write when they miss the grammar.

Only slips with one possible meaning are mended, each by its name in `REPAIRS`. A string that is
cut in its middle, a key without a value, an object or list that is cut before its next member, a
number that no JSON has: no reading, since anything read would be a guess about what the model had
said.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tooltune.toolcalls.json_text import MAX_DEPTH, InvalidJSON, read_scanned

REPAIRS = (
    "missing_closer",
    "trailing_comma",
    "missing_comma",
    "single_quotes",
    "unquoted_key",
    "python_word",
    "raw_control_character",
    "wrong_escape",
    "comment",
)
"""What may be mended, in the order in which repairs are listed."""

_SKIP = re.compile(r"(?:[\s\ufeff]++|(?P<comment>//[^\n]*+|/\*(?s:.*?)\*/))*+")
_STRING = re.compile(r'"[^"\\]*+(?:\\(?s:.)[^"\\]*+)*+"|' r"'[^'\\]*+(?:\\(?s:.)[^'\\]*+)*+'")
_BARE_KEY = re.compile(r"[^\W\d]\w*+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?(?![\w.])")
_WORD = re.compile(r"(?:true|false|null|True|False|None)(?!\w)")
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|(?s:.))")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_JSON_ESCAPES = '"\\/bfnrtu'
_CONTROL = re.compile(r"[\x00-\x1f]")


class Tolerant(NamedTuple):
    """A value, the index after it, and what was mended, some of `REPAIRS` (none: it was JSON)."""

    value: Any
    end: int
    repairs: tuple[str, ...]


class _NoReading(Exception):
    """What stands here has no one meaning."""


def read_tolerant(text: str, start: int, end: int) -> Tolerant | None:
    """Read the object or list that begins at `start`, never past `end`.

    None where there is no one reading. Objects and lists that are open at `end`, or where a tag
    (`<`) begins, are closed. Without recursion, in time linear in the text read.
    """
    reader = _Reader(text, start, end)
    try:
        value = reader.read()
    except (_NoReading, InvalidJSON):
        return None
    repairs = tuple(name for name in REPAIRS if name in reader.repairs)
    return Tolerant(value, reader.pos, repairs)


class _Reader:
    def __init__(self, text: str, start: int, end: int) -> None:
        self.text, self.pos, self.end = text, start, end
        self.repairs: set[str] = set()

    def read(self) -> dict[str, Any] | list[Any]:
        root = self._value()
        if not isinstance(root, (dict, list)):
            raise _NoReading
        inside: list[dict[str, Any] | list[Any]] = [root]  # the objects and lists that are open
        comma = False  # whether one stands right before
        while inside:
            top = inside[-1]
            at = self._peek()
            if not at:
                if comma or not top:  # more was to come
                    raise _NoReading
                self.repairs.add("missing_closer")
                break
            if at == ("}" if isinstance(top, dict) else "]"):
                if comma:
                    self.repairs.add("trailing_comma")
                self.pos += 1
                inside.pop()
            else:
                value = self._member(top)
                if isinstance(value, (dict, list)):
                    inside.append(value)
                    comma = False
                    if len(inside) > MAX_DEPTH:
                        raise _NoReading
                    continue
            comma = bool(inside) and self._comma(inside[-1])
        return root

    def _peek(self) -> str:
        """The next character that says something, "" at the end or where a tag begins."""
        match = _SKIP.match(self.text, self.pos, self.end)
        assert match is not None
        if match["comment"]:
            self.repairs.add("comment")
        self.pos = match.end()
        at = self.text[self.pos : self.pos + 1] if self.pos < self.end else ""
        return "" if at == "<" else at

    def _member(self, top: dict[str, Any] | list[Any]) -> Any:
        if isinstance(top, list):
            top.append(value := self._value())
            return value
        key = self._key()
        if key in top or self._peek() != ":":
            raise _NoReading
        self.pos += 1
        top[key] = value = self._value()
        return value

    def _key(self) -> str:
        if self._peek() in ('"', "'"):
            return self._string()
        bare = _BARE_KEY.match(self.text, self.pos, self.end)
        if bare is None:
            raise _NoReading
        self.repairs.add("unquoted_key")
        self.pos = bare.end()
        return bare[0]

    def _value(self) -> Any:
        """A scalar, or a new object or list whose bracket is read."""
        at = self._peek()
        if at in ("{", "["):
            self.pos += 1
            return {} if at == "{" else []
        if at in ('"', "'"):
            return self._string()
        if word := _WORD.match(self.text, self.pos, self.end):
            if word[0] in ("True", "False", "None"):
                self.repairs.add("python_word")
            self.pos = word.end()
            return _WORDS[word[0]]
        number = _NUMBER.match(self.text, self.pos, self.end)
        if number is None or number.end() == self.end:  # more digits may have been meant
            raise _NoReading
        self.pos = number.end()
        return read_scanned(number[0])

    def _comma(self, top: dict[str, Any] | list[Any]) -> bool:
        """Read what separates two members; whether it was a comma, if only a forgotten one."""
        at = self._peek()
        if at == ",":
            self.pos += 1
            return True
        if at == "" or at == ("}" if isinstance(top, dict) else "]"):
            return False
        if at not in "\"'{[":
            raise _NoReading
        self.repairs.add("missing_comma")
        return True

    def _string(self) -> str:
        match = _STRING.match(self.text, self.pos, self.end)
        if match is None:
            raise _NoReading
        self.pos = match.end()
        body = match[0][1:-1]
        if match[0][0] == "'":
            self.repairs.add("single_quotes")
        if _CONTROL.search(body):
            self.repairs.add("raw_control_character")
        said = _ESCAPE.sub(self._unescaped, body)
        try:
            # A pair of escaped surrogates is one character; a lone one is none.
            return said.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise _NoReading from None

    def _unescaped(self, escape: re.Match[str]) -> str:
        code = escape[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        if code not in _JSON_ESCAPES or code == "u":
            self.repairs.add("wrong_escape")
            return code if code in "'\n" else "\\" + code
        return _ESCAPED.get(code, code)
