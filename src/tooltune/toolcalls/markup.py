"""Calls written as marks around names and values, `<invoke name="f"><parameter name="x">1…`.

The families differ in their marks alone, so one reader does for all. No mark is escaped inside a
value: by the grammar, a closer in a string is ambiguous. A value ends at the first closer behind
which (white space skipped) another parameter begins, or its call ends: a string may then hold any
mark but such a pair, and none is cut short that could be told from the markup. A value also breaks
off where another call with a parameter begins, so that a call never closed does not swallow the
calls behind it; a string that holds all of a call's marks is cut by its closers anyway.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tooltune.toolcalls.json_text import InvalidJSON, read_json, skip_space
from tooltune.toolcalls.scan import Attempt, Reading, Schemas
from tooltune.toolcalls.typed import property_schema, read_value
from tooltune.toolcalls.types import Status

_CUT = r"(?:<[^<>]{0,40}+)?\Z"
"""The beginning of a mark that the end of the text cuts off, or nothing."""


class Marks(NamedTuple):
    """The marks of a family, as regular expressions.

    `call` has the group `name`, `parameter` the group `key`, and `string` (`true` or `false`)
    where values say whether they are strings. `opener` begins a call, or the block of calls that
    `block_end` closes. `bare_calls`: the model also leaves the block's opener out.
    `edge` is the text that the template adds at both ends of a value; `python_words`: it prints
    `True` and `None`.
    """

    opener: str
    call: str
    call_end: str
    parameter: str
    parameter_end: str
    block_end: str = ""
    bare_calls: bool = False
    edge: str = ""
    python_words: bool = False


class Reader:
    """Reads calls by the marks of one family.

    `opener` is where `read` may be asked to read: at a block, or at a call that lacks its block.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        call, parameter = _ungrouped(marks.call), _ungrouped(marks.parameter)
        follows = rf"(?=\s*+(?:{parameter}|{marks.call_end}|{_CUT}))"
        self.opener = f"{marks.opener}|{call}{follows}"
        self._opener = re.compile(marks.opener)
        self._call = re.compile(marks.call)
        self._call_end = re.compile(marks.call_end)
        self._block_end = re.compile(marks.block_end) if marks.block_end else None
        self._parameter = re.compile(marks.parameter)
        self._value_end = re.compile(
            rf"(?P<end>{marks.parameter_end}){follows}|{call}\s*+{parameter}"
        )
        closers = "|".join(filter(None, (marks.block_end, marks.call_end)))
        self._next_mark = re.compile(rf"(?P<close>{closers})|{self.opener}|</think>")
        self._cut = re.compile(rf"\s*+{_CUT}")

    def for_tools(self, schemas: Schemas) -> Callable[[str, int, int], Reading]:
        """A `read` for `scan_turn` that types values by the tools' schemas."""
        return lambda text, start, end: self.read(text, start, end, schemas)

    def read(self, text: str, start: int, end: int, schemas: Schemas) -> Reading:
        """Read a block of calls, or one call that stands without."""
        attempts: list[Attempt] = []
        block = self._opener.match(text, start, end) if self._block_end else None
        pos = skip_space(text, block.end(), end) if block else start
        while head := self._call.match(text, pos, end):
            attempts.append(self._read_call(text, head, end, schemas))
            pos = attempts[-1].end
            if block is None:
                break
            pos = skip_space(text, pos, end)
        if not attempts:
            return self._no_call(text, start, end)
        if self._block_end is None:
            return Reading(attempts, pos)
        return self._end_block(text, attempts, end, self._block_end, is_open=block is not None)

    def _no_call(self, text: str, start: int, end: int) -> Reading:
        """An opener behind which no call begins."""
        mark = self._opener.match(text, start, end)
        pos = mark.end() if mark else start
        if self._cut.match(text, pos, end):
            return Reading([Attempt(start, end, status="unclosed")], end)
        stop = self._next_mark.search(text, pos, end)
        resume = end if stop is None else stop.end() if stop["close"] else stop.start()
        return Reading([Attempt(start, resume)], resume)

    def _end_block(
        self,
        text: str,
        attempts: list[Attempt],
        end: int,
        closer: re.Pattern[str],
        *,
        is_open: bool,
    ) -> Reading:
        """What the block around `attempts` makes of the last one, and where it ends."""
        last = attempts[-1]
        pos = skip_space(text, last.end, end)
        status: Status = "ok"
        if close := closer.match(text, pos, end):
            resume = close.end()
        else:
            resume = end if self._cut.match(text, pos, end) else last.end
            if is_open:
                status = "unclosed"
                mark = self._next_mark.search(text, pos, end)
                if mark is not None and mark["close"]:  # something stands before the closer
                    status, resume = "malformed", mark.end()
        if not is_open and not self._marks.bare_calls:
            status = "malformed"
        if last.status == "ok":
            attempts[-1] = last._replace(status=status)
        return Reading(attempts, resume)

    def _read_call(self, text: str, head: re.Match[str], end: int, schemas: Schemas) -> Attempt:
        start, name = head.start(), (head["name"] or "").strip() or None
        schema = schemas.get(name or "", {})
        arguments: dict[str, Any] = {}
        status: Status = "ok" if name else "missing_name"
        pos = skip_space(text, head.end(), end)
        while parameter := self._parameter.match(text, pos, end):
            stop = self._value_end.search(text, parameter.end(), end)
            if stop is None or stop["end"] is None:
                after, broken = self._broken(text, parameter.end(), end, in_value=True)
                return Attempt(start, after, name, status=broken)
            value = text[parameter.end() : stop.start()]
            try:
                if parameter["key"] in arguments:
                    status = "malformed"
                arguments[parameter["key"]] = self._value(value, parameter, schema)
            except InvalidJSON:
                status = "invalid_json"
            pos = skip_space(text, stop.end(), end)
        is_read = status in ("ok", "missing_name")
        if closer := self._call_end.match(text, pos, end):
            after = closer.end()
        else:
            after, status = self._broken(text, pos, end, in_value=False)
            is_read = is_read and bool(arguments)
        return Attempt(start, after, name, arguments if is_read else {}, is_read, status)

    def _value(self, text: str, parameter: re.Match[str], schema: Any) -> Any:
        text = text.removeprefix(self._marks.edge).removesuffix(self._marks.edge)
        is_string = parameter.groupdict().get("string")
        if is_string == "true":
            return text
        if is_string == "false":
            return read_json(text)
        allowed = property_schema(schema, parameter["key"])
        return read_value(text, allowed, schema, python_words=self._marks.python_words)

    def _broken(self, text: str, pos: int, end: int, *, in_value: bool) -> tuple[int, Status]:
        """Where a call ends whose grammar broke at `pos`, and what it is: unclosed, or malformed
        if a closer comes next.
        """
        mark = self._next_mark.search(text, pos, end)
        if mark is not None and mark["close"]:
            own = self._call_end.match(text, mark.start(), end)
            return (own.end() if own else mark.start()), "malformed"
        stop = mark.start() if mark else end
        is_cut = in_value or pos == stop or text[pos] == "<"
        return stop, "unclosed" if is_cut else "malformed"


def _ungrouped(pattern: str) -> str:
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)
