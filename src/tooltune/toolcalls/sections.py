"""Calls in a section of their own, each between two markers and named before its arguments:
`<section><call>NAME<separator>{…}<call end><section end>`, as DeepSeek and Kimi write them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from tooltune.toolcalls.json_text import skip_space
from tooltune.toolcalls.marked import Marks, read_arguments
from tooltune.toolcalls.scan import Attempt, Reading
from tooltune.toolcalls.types import Status


class Head(NamedTuple):
    """The name of a call (None where it has none) and the index of its arguments."""

    name: str | None
    body: int


class Section(NamedTuple):
    """The markers of a family.

    `open` and `close` match those of a section, `call` is what every call in it begins with.
    `read_head(text, start, end)` reads what stands between that and the arguments, None where
    the separator is missing. `arguments` ends a call; its `marks` hold every marker.
    """

    open: re.Pattern[str]
    close: re.Pattern[str]
    call: str
    read_head: Callable[[str, int, int], Head | None]
    arguments: Marks

    @property
    def opener(self) -> str:
        """Where a section may begin; models also leave its marker out."""
        return f"(?:{self.open.pattern}|{re.escape(self.call)})"


def read_section(text: str, start: int, end: int, section: Section) -> Reading:
    """Read all calls of the section at `start`; one without any is an attempt of its own.

    Where text stands before its calls, the section's own marker is left in the content.
    """
    opened = section.open.match(text, start, end)
    pos = opened.end() if opened else start
    attempts: list[Attempt] = []
    while True:
        pos = skip_space(text, pos, end)
        if not text.startswith(section.call, pos, end):
            break
        attempts.append(_read_call(text, pos, end, section))
        pos = attempts[-1].end
    if closed := section.close.match(text, pos, end):
        return Reading(attempts or [Attempt(start, closed.end())], closed.end())
    if attempts:
        return Reading(attempts, attempts[-1].end)
    mark = section.arguments.marks.search(text, pos, end)
    stop = mark.start() if mark else end
    if mark is not None and mark[0] == section.call:
        return Reading([], stop)
    status: Status = "unclosed" if pos == end else "malformed"
    return Reading([Attempt(start, stop, status=status)], stop)


def _read_call(text: str, start: int, end: int, section: Section) -> Attempt:
    marks = section.arguments
    body = start + len(section.call)
    head = section.read_head(text, body, end)
    if head is not None:
        return read_arguments(text, start, head.name, head.body, end, marks)
    mark = marks.marks.search(text, body, end)
    if mark is None:
        return Attempt(start, end, status="unclosed")
    closer = marks.close.match(text, mark.start(), end)
    return Attempt(start, closer.end() if closer else mark.start())
