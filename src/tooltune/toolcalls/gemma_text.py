"""The calls of FunctionGemma and Gemma-4: `call:NAME{key:value,…}` between two markers.

Texts stand between two equal quote markers and have no escapes, so none can hold the marker.
Numbers are bare, lists and objects nest, keys are bare or quoted as texts are. The words are
JSON's, and Python's too: the first Gemma-4 templates print `None`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tooltune.toolcalls.json_text import skip_space
from tooltune.toolcalls.nested import Syntax, Value, read_nested
from tooltune.toolcalls.python_text import match_number
from tooltune.toolcalls.scan import Attempt, Reading
from tooltune.toolcalls.types import Status

_HEAD = re.compile(r"\s*+call:\s*+([^{}<>\n]*+)(?=\{)")
_PARTIAL_HEAD = re.compile(r"\s*+(?:c|ca|cal|call|call:[^{}<>\n]*+)?\s*+")
_KEY = re.compile(r"(?:(?!<\||\|>)[^:{}\[\],\n])*+(?=:)")
_WORD = re.compile(r"[A-Za-z]++(?!\w)")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_PARTIAL = re.compile(r"\s*+[^:{}\[\],<>\n]*+\s*+")


def call_reader(opener: str, closer: str, quote: str) -> Callable[[str, int, int], Reading]:
    """The function that reads one call at `opener`, for `scan_turn`.

    A call that broke off ends at the next opener or behind the next closer.
    """
    syntax = _syntax(quote)
    next_mark = re.compile(f"{re.escape(opener)}|{re.escape(closer)}")

    def read(text: str, start: int, end: int) -> Reading:
        head = _HEAD.match(text, start + len(opener), end)
        if head is None:
            return headless(text, start, end)
        name = head[1].strip() or None
        value = read_nested(text, head.end(), end, syntax)
        if not value.whole:
            return broken(text, start, value.end, end, name)
        after = skip_space(text, value.end, end)
        if not text.startswith(closer, after, end):
            mark = next_mark.search(text, after, end)
            if mark is not None and mark[0] == closer:
                return Reading([Attempt(start, start, name, status="malformed")], mark.end())
            attempt = _attempt(name, value)
            if attempt.status == "ok":
                attempt = attempt._replace(status="unclosed")
            return Reading([attempt], value.end)
        return Reading([_attempt(name, value)], after + len(closer))

    def headless(text: str, start: int, end: int) -> Reading:
        stop, resume, closed = extent(text, start, end)
        cut = not closed and _PARTIAL_HEAD.fullmatch(text, start + len(opener), stop) is not None
        return Reading([Attempt(start, start, status="unclosed" if cut else "malformed")], resume)

    def broken(text: str, start: int, failure: int, end: int, name: str | None) -> Reading:
        stop, resume, closed = extent(text, start, end)
        cut = not closed and _is_partial(text, failure, stop, quote)
        status: Status = "unclosed" if cut else "invalid_json"
        return Reading([Attempt(start, start, name, status=status)], resume)

    def extent(text: str, start: int, end: int) -> tuple[int, int, bool]:
        """Where a broken call ends, where reading goes on, and whether the call was closed."""
        mark = next_mark.search(text, start + len(opener), end)
        if mark is None:
            return end, end, False
        closed = mark[0] == closer
        return mark.start(), mark.end() if closed else mark.start(), closed

    return read


def _attempt(name: str | None, value: Value) -> Attempt:
    if not value.sound:
        return Attempt(0, 0, name, status="invalid_json")
    return Attempt(0, 0, name, value.value, True, "ok" if name else "missing_name")


def _is_partial(text: str, broken: int, end: int, quote: str) -> bool:
    if broken >= end or _PARTIAL.fullmatch(text, broken, end) is not None:
        return True
    if text.startswith(quote, broken):
        return text.find(quote, broken + len(quote), end) < 0
    return end - broken < len(quote) and quote.startswith(text[broken:end])


def _syntax(quote: str) -> Syntax:
    def quoted(text: str, start: int, end: int) -> Value | None:
        if not text.startswith(quote, start, end):
            return None
        close = text.find(quote, start + len(quote), end)
        if close < 0:
            return Value(start, whole=False)
        return Value(close + len(quote), text[start + len(quote) : close])

    def literal(text: str, start: int, end: int) -> Value | None:
        value = quoted(text, start, end)
        if value is None:
            value = match_number(text, start, end)
        if value is not None:
            return value
        if word := _WORD.match(text, start, end):
            return Value(word.end(), _WORDS.get(word[0]), sound=word[0] in _WORDS)
        return None

    def key(text: str, start: int, end: int) -> Value | None:
        if (value := quoted(text, start, end)) is not None:
            return value
        bare = _KEY.match(text, start, end)
        return Value(bare.end(), bare[0].strip()) if bare else None

    return Syntax({"[": "]", "{": "}"}, literal, key)
