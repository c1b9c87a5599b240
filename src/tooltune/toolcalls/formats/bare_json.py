"""Calls written as JSON objects with no marker at all, told from other JSON by judgement.

An object is a call if it has a string `name` and an `arguments` or `parameters` object (or JSON
string of one). `{"name": "Alice", "age": 3}` is data, and a tool's own definition repeated
(`parameters` is a JSON schema) is no call either.
"""

from __future__ import annotations

import re
from typing import Any

from tooltune.toolcalls.json_text import (
    CHARS,
    WS,
    InvalidJSON,
    is_truncated,
    read_scanned,
    scan_json,
)
from tooltune.toolcalls.payload import as_call
from tooltune.toolcalls.scan import NO_SCHEMAS, Attempt, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.tolerant_json import read_tolerant
from tooltune.toolcalls.types import ParsedTurn

_OPEN = rf'\{{(?={WS}"{CHARS}"{WS}:)'
_NAME = r'"name"\s*+:\s*+"[^"\\\n]*+"\s*+'
_PLAIN = rf'"(?!(?:name|function)"){CHARS}"\s*+:\s*+"{CHARS}"\s*+,\s*+'  # as "type", "id"
_FUNCTION = r'(?:"function"\s*+:\s*+\{\s*+)?+'
_CALL_HEAD = re.compile(
    rf"\{{\s*+(?:{_PLAIN}){{0,4}}+{_FUNCTION}{_NAME},"
    r'\s*+"(?:arguments|parameters)"\s*+(?::\s*+[\{"]|:?\s*+\Z)'
)
_CALL_WORDS = re.compile('"(?:arguments|parameters)"')
_LINE_END = re.compile(r"</think>|$", re.MULTILINE)
_SECOND_LOOKS = 65_536
"""Characters that may be walked again after objects that broke, before whole stretches are passed
over: real outputs never come near it, and it keeps the walk linear."""


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return parse_as(text, "bare_json")


def parse_as(text: str, name: str, separator: re.Pattern[str] | None = None) -> ParsedTurn:
    """`parse` for a family that also writes its calls bare; `name` is that family's.

    What `separator` matches behind a call belongs to the call and not to the content.
    """
    budget = _SECOND_LOOKS

    def read(text: str, start: int, end: int) -> Reading:
        nonlocal budget
        after, whole = scan_json(text, start, end)
        if whole:
            attempt = _judge(text, start, after)
            parted = separator.match(text, after, end) if attempt and separator else None
            return Reading([attempt] if attempt else [], parted.end() if parted else after)
        head = _CALL_HEAD.match(text, start, end)
        if head is not None:
            # Where a forgiving reader sees it end is a better guess than the end of the line.
            limit = min(end, start + max(budget, 0))
            mended = read_tolerant(text, start, limit)
            budget -= (mended.end if mended else limit) - start
            if mended is not None and "missing_closer" not in mended.repairs:
                return Reading([Attempt(start, mended.end, status="invalid_json")], mended.end)
            return _broken(text, start, after, end)
        # The broken object may be a lone brace in prose before a real call: look inside again.
        budget -= after - start
        return Reading([], start + 1 if budget > 0 else max(after, start + 1))

    return scan_turn(text, _OPEN, read, name)


def _judge(text: str, start: int, end: int) -> Attempt | None:
    if not _CALL_WORDS.search(text, start, end):
        return None
    try:
        value = read_scanned(text[start:end])
    except InvalidJSON:
        head = _CALL_HEAD.match(text, start, end)
        return Attempt(start, end, status="invalid_json") if head else None
    attempt = as_call(value, start, end)
    if attempt.name is None or not _has_arguments(value) or _is_definition(value):
        return None
    return attempt


def _has_arguments(value: Any) -> bool:
    function = value if "name" in value else value["function"]
    given = function.get("arguments", function.get("parameters"))
    return isinstance(given, dict) or (isinstance(given, str) and given.lstrip()[:1] == "{")


def _is_definition(value: Any) -> bool:
    function = value if "name" in value else value["function"]
    if "arguments" in function:
        return False
    schema = function["parameters"]
    return "description" in function or (
        isinstance(schema, dict)
        and schema.get("type") == "object"
        and isinstance(schema.get("properties"), dict)
    )


def _broken(text: str, start: int, failure: int, end: int) -> Reading:
    if is_truncated(text, failure, end):
        return Reading([Attempt(start, end, status="unclosed")], end)
    line_end = _LINE_END.search(text, failure, end)
    stop = line_end.start() if line_end else end
    return Reading([Attempt(start, stop, status="invalid_json")], max(stop, start + 1))


FORMAT = Format("bare_json", (), parse)
