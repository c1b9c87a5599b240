"""Pythonic calls: `[f(a=1), g(b="x")]`, as Llama-3.2, Llama-4 and ToolACE's models write them.

Llama-4 may write them (or one JSON call) between `<|python_start|>` and `<|python_end|>`: there
everything is an attempt. A list without markers is told from other brackets by judgement. It is
one of calls if every item of it is a call and one at least can be nothing else: it has a named
argument, or the name of a known tool, or the list has a line to itself. A list that breaks is an
attempt if it begins with such a call. `[1, 2]`, `[{"name": …}]`, `[see f(x)]` and the link
`[f(x)](…)` are text.
https://www.llama.com/docs/model-cards-and-prompt-formats/llama4/
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tooltune.toolcalls.payload import Payload, read_payload
from tooltune.toolcalls.python_calls import NAME, Style, read_calls, read_tagged
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<|python_start|>"
_CLOSE = "<|python_end|>"
BARE_OPEN = rf"\[(?=\s*+{NAME}\()"
_MARKED = Style(re.compile(r"<\|python_(?:start|end)\|>|</think>"), _CLOSE)
_BARE = Style(re.compile("(?!)"), _CLOSE, by_line=True)
_HEAD = re.compile(rf"\[\s*+({NAME})\(\s*+(\)|[^\s()\[\]{{}}\"'=,]++\s*+=(?!=)|\Z)?")
_LINE_AFTER = re.compile(r"[ \t]*+(?:\n|\Z|<\|)")
_LINE_END = re.compile(r"<\|python_end\|>|$", re.MULTILINE)
_INDENT = 80
_JSON = re.compile(r"\s*+(?:\[\s*+)?\{")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    read_bare = bare_reader(schemas)

    def read(text: str, start: int, end: int) -> Reading:
        if text[start] == "[":
            return read_bare(text, start, end)
        body = start + len(_OPEN)
        if _JSON.match(text, body, end):
            return read_tagged(text, read_payload(text, body, end, _MARKED.resync), end, _MARKED)
        return read_tagged(text, read_calls(text, body, end, schemas, _MARKED), end, _MARKED)

    return scan_turn(text, rf"{re.escape(_OPEN)}|{BARE_OPEN}", read, "pythonic")


def bare_reader(schemas: Schemas) -> Callable[[str, int, int], Reading]:
    """The function that reads a list without markers at one `BARE_OPEN`, for one `scan_turn`."""

    def read(text: str, start: int, end: int) -> Reading:
        head = _HEAD.match(text, start, end)
        if head is None:
            return Reading([], start + 1)
        name = head[1].strip()
        known = name in schemas
        if not known and (head[2] is None or " " in name):
            return Reading([], start + 1)
        payload = read_calls(text, start, end, schemas, _BARE)
        if payload.whole:
            if not _is_calls(text, start, payload, end, schemas):
                return Reading([], start + 1)
            after = payload.end
            closed = text.startswith(_CLOSE, after, end)
            return Reading(payload.attempts, after + len(_CLOSE) if closed else after)
        if known or head[2].endswith("=") or _own_line(text, start):
            return _to_line_end(text, payload, end)
        return Reading([], start + 1)

    return read


def _is_calls(text: str, start: int, payload: Payload, end: int, schemas: Schemas) -> bool:
    if text.startswith("(", payload.end, end):  # a link
        return False
    is_telling = False
    for _, _, name, arguments, _, status in payload.attempts:
        known = name in schemas
        if not known and (status == "malformed" or name is None or " " in name):
            return False
        is_telling = is_telling or known or bool(arguments) or status == "invalid_json"
    return is_telling or (
        _own_line(text, start) and _LINE_AFTER.match(text, payload.end, end) is not None
    )


def _own_line(text: str, start: int) -> bool:
    before = text[max(0, start - _INDENT) : start].rstrip(" \t")
    return before.endswith("\n") or (not before and start <= _INDENT)


def _to_line_end(text: str, payload: Payload, end: int) -> Reading:
    """The attempts of a list that broke; what stands behind the break in its line is the last's."""
    *others, last = payload.attempts
    line_end = _LINE_END.search(text, payload.end, end)
    stop = line_end.start() if line_end else end
    closed = text.startswith(_CLOSE, stop, end)
    return Reading([*others, last._replace(end=stop)], stop + len(_CLOSE) if closed else stop)


FORMAT = Format("pythonic", (), parse, payload=None)
