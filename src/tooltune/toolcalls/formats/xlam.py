"""xLAM calls: a bare JSON list `[{"name": …, "arguments": {…}}, …]` (xLAM-2), also in a fence,
behind `[TOOL_CALLS]` or in `<tool_call>` tags; xLAM-1 writes it as the value of `tool_calls` in an
object, which may hold its `thought`. An empty list means that nothing is called.

A bare list is one of calls if a member has a name and arguments; other JSON is text. Behind a
marker anything but a list is a broken call.
https://huggingface.co/Salesforce/Llama-xLAM-2-8b-fc-r
https://huggingface.co/Salesforce/xLAM-7b-fc-r
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tooltune.toolcalls.json_text import (
    CHARS,
    WS,
    InvalidJSON,
    read_json,
    read_scanned,
    scan_json,
    skip_space,
)
from tooltune.toolcalls.marked import without_wrappers
from tooltune.toolcalls.payload import read_payload, spoil_last
from tooltune.toolcalls.scan import NO_SCHEMAS, Attempt, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_MARKER = re.compile(r"(?:\[TOOL_CALLS\]|<tool_call>)(?!\s*+(?:\[\s*+\{|```))")
_WRAPPERS = re.compile(r"\[TOOL_CALLS\]|</?tool_call>")
_FENCE = r"```(?:json)?+\s*+"
_OBJECT = rf'\{{{WS}(?:"thought"{WS}:{WS}"{CHARS}"{WS},{WS})?"tool_calls"{WS}:{WS}(?=\[)'
_HEAD = re.compile(rf"({_FENCE})?({_OBJECT})?(?=\[)")
_OTHER_OBJECT = rf'\{{(?={WS}"{CHARS}"{WS}:)'
_OPEN = rf"{_MARKER.pattern}|(?:{_FENCE})?+(?:\[(?=\s*+\{{)|{_OBJECT})|{_OTHER_OBJECT}"
_NEXT_MARK = re.compile(
    rf"\[TOOL_CALLS\]|<tool_call>|</think>|\{{{WS}\"tool_calls\"|\[\s*+\{{\s*+\"name\""
    r"|(?P<close></tool_call>|```)"
)
_AFTER_OBJECT = re.compile(rf'(?:{WS},{WS}"{CHARS}"{WS}:{WS}"{CHARS}")*+{WS}\}}')
_AFTER_FENCE = re.compile(r"\s*+```")
_THOUGHT = re.compile(rf'"thought"{WS}:{WS}("{CHARS}")')
_NO_CALLS = re.compile(rf"(?:{_FENCE})?+(?:\[\s*+\]|{_OBJECT}\[\s*+\]\s*+\}})\s*+(?:```)?")
# What a list of calls begins with, whole or cut off by the end of the text.
_CALL_HEAD = re.compile(
    r'\[\s*+\{\s*+(?:\Z|"n?a?m?e?\Z|"name"\s*+(?:\Z|:\s*+(?:\Z|"[^"\\\n]*+(?:\Z'
    r'|"\s*+(?:\Z|,\s*+(?:\Z|"[a-z]*+\Z|"(?:arguments|parameters)"))))))'
)
_SECOND_LOOKS = 65_536
"""Characters that may be walked again behind JSON that broke: it keeps the walk linear."""


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    budget = _SECOND_LOOKS
    thoughts: list[str] = []

    def read(text: str, start: int, end: int) -> Reading:
        nonlocal budget
        if marker := _MARKER.match(text, start, end):
            return _read_broken(text, start, marker.end(), end)
        head = _HEAD.match(text, start, end)
        body = head.end() if head else start
        after, whole = scan_json(text, body, end)
        budget -= 0 if whole else after - start
        judge = _holds_calls if whole else _begins_calls
        if head is None or not judge(text, body, after if whole else end, head):
            return Reading([], body + 1 if not whole and budget > 0 else max(after, body + 1))
        if head[2] and (thought := _THOUGHT.search(head[2])):
            thoughts.append(read_json(thought[1]))
        reading = _read_list(text, start, body, end, head)
        return reading if budget > 0 else reading._replace(end=max(after, reading.end))

    turn = without_wrappers(scan_turn(text, _OPEN, read, "xlam"), _WRAPPERS)
    if thoughts:
        thoughts = [turn.reasoning or "", *thoughts]
        turn = replace(turn, reasoning="\n".join(filter(None, map(str.strip, thoughts))) or None)
    if not turn.calls and _NO_CALLS.fullmatch(turn.content):
        return replace(turn, content="")
    return turn


def _read_broken(text: str, start: int, body: int, end: int) -> Reading:
    mark = _NEXT_MARK.search(text, body, end)
    if mark is None:
        cut = skip_space(text, body, end) == end
        return Reading([Attempt(start, end, status="unclosed" if cut else "malformed")], end)
    stop = mark.end() if mark.lastgroup == "close" else mark.start()
    return Reading([Attempt(start, stop)], stop)


def _read_list(text: str, start: int, body: int, end: int, head: re.Match[str]) -> Reading:
    """The calls of the list at `body`, with the object and the fence around it."""
    payload = read_payload(text, body, end, _NEXT_MARK)
    attempts, pos = payload.attempts, payload.end
    if head[2] and (closer := _AFTER_OBJECT.match(text, pos, end)):
        pos = closer.end()
    elif head[2] and payload.whole:
        cut = skip_space(text, pos, end) == end
        attempts = spoil_last(attempts, "unclosed" if cut else "invalid_json")
    if head[1] and (fence := _AFTER_FENCE.match(text, pos, end)):
        pos = fence.end()
    attempts[0] = attempts[0]._replace(start=start)
    return Reading(attempts, pos)


def _holds_calls(text: str, start: int, end: int, head: re.Match[str]) -> bool:
    """Whether the whole list `text[start:end]` behind `head` is one of calls."""
    try:
        members = read_scanned(text[start:end])
    except InvalidJSON:
        return _begins_calls(text, start, end, head)
    return bool(members) if head[2] else any(_is_call(member) for member in members)


def _begins_calls(text: str, start: int, end: int, head: re.Match[str]) -> bool:
    """Whether a list that is no JSON as a whole begins as one of calls."""
    return head[2] is not None or _CALL_HEAD.match(text, start, end) is not None


def _is_call(value: Any) -> bool:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("arguments", value.get("parameters")), (dict, str))
    )


FORMAT = Format("xlam", (), parse)
