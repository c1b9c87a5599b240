"""Mistral calls: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, or, from tokenizer v11 on,
`[TOOL_CALLS]name[ARGS]{…}` once a call (v11 has `[CALL_ID]…` in between).

https://docs.mistral.ai/cookbooks/concept-deep-dive-tokenization-tool_calling
"""

from __future__ import annotations

import re

from tooltune.toolcalls.json_text import InvalidJSON, read_scanned, scan_json
from tooltune.toolcalls.payload import as_arguments, broken, read_payload
from tooltune.toolcalls.scan import NO_SCHEMAS, Attempt, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "[TOOL_CALLS]"
_NEXT_MARK = re.compile(r"\[TOOL_CALLS\]|</think>")
_NAMED = re.compile(
    r"\[TOOL_CALLS\]\s*+([^\s\[\]{}]++)\s*+(?:\[CALL_ID\][^\s\[\]{}]*+)?(?:\[ARGS\])?\s*+(?=\{|\Z)"
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, re.escape(_OPEN), _read, "mistral")


def _read(text: str, start: int, end: int) -> Reading:
    if named := _NAMED.match(text, start, end):
        attempt = _read_named(text, named, end)
        return Reading([attempt], attempt.end)
    payload = read_payload(text, start + len(_OPEN), end, _NEXT_MARK)
    if payload.attempts:
        return Reading(payload.attempts, payload.end)
    mark = _NEXT_MARK.search(text, payload.end, end)
    return Reading([Attempt(start, start)], mark.start() if mark else end)


def _read_named(text: str, named: re.Match[str], end: int) -> Attempt:
    name, start = named[1], named.end()
    after, whole = scan_json(text, start, end)
    if not whole:
        return broken(text, start, after, end, _NEXT_MARK)._replace(name=name)
    try:
        arguments, status = as_arguments(read_scanned(text[start:after]))
    except InvalidJSON:
        return Attempt(start, after, name, status="invalid_json")
    return Attempt(start, after, name, arguments or {}, arguments is not None, status)


FORMAT = Format("mistral", (_OPEN,), parse)
