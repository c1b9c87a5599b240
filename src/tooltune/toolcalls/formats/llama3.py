"""Llama 3 calls: `<|python_tag|>{"name": …, "parameters": {…}}`, several separated by `;`.

Built-in tools are written `<|python_tag|>brave_search.call(query="…")`. Llama 3.1 also writes the
JSON without the tag, which is read as bare JSON.
https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/
"""

from __future__ import annotations

import re
from typing import Any

from tooltune.toolcalls.formats import bare_json
from tooltune.toolcalls.json_text import InvalidJSON, read_scanned, scan_json
from tooltune.toolcalls.payload import read_payload
from tooltune.toolcalls.scan import (
    NO_SCHEMAS,
    Attempt,
    Format,
    Reading,
    Schemas,
    scan_turn,
    text_outside_calls,
)
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<|python_tag|>"
_NEXT_MARK = re.compile(r"<\|python_tag\|>|<\|eo[mt]_id\|>|</think>")
_ANOTHER = re.compile(r"\s*+[;,]?\s*+(?=\{)")
_BUILT_IN = re.compile(r"\s*+([A-Za-z_]\w*+)\.call\(")
_ARGUMENT = re.compile(r"\s*+([A-Za-z_]\w*+)\s*+=\s*+")
_NO_ARGUMENTS = re.compile(r"\s*+\)")
_SEPARATOR = re.compile(r"\s*+([,)])")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    bare = bare_json.parse_as(text, "llama3")
    if _OPEN not in text_outside_calls(text, bare):
        return bare
    return scan_turn(text, re.escape(_OPEN), _read, "llama3")


def _read(text: str, start: int, end: int) -> Reading:
    body = start + len(_OPEN)
    if built_in := _BUILT_IN.match(text, body, end):
        attempt = _read_built_in(text, built_in, end)
        return Reading([attempt], attempt.end)
    payload = read_payload(text, body, end, _NEXT_MARK)
    if not payload.attempts:
        mark = _NEXT_MARK.search(text, payload.end, end)
        return Reading([Attempt(start, start)], mark.start() if mark else end)
    attempts = payload.attempts
    while payload.whole and (more := _ANOTHER.match(text, payload.end, end)):
        payload = read_payload(text, more.end(), end, _NEXT_MARK)
        attempts += payload.attempts
    return Reading(attempts, payload.end)


def _read_built_in(text: str, head: re.Match[str], end: int) -> Attempt:
    name, pos = head[1], head.end()
    arguments: dict[str, Any] = {}
    close = _NO_ARGUMENTS.match(text, pos, end)
    while close is None:
        key = _ARGUMENT.match(text, pos, end)
        if key is None or key[1] in arguments:
            return _broken_built_in(text, name, pos, end)
        after, whole = scan_json(text, key.end(), end)
        separator = _SEPARATOR.match(text, after, end) if whole else None
        if separator is None:
            return _broken_built_in(text, name, pos, end)
        try:
            arguments[key[1]] = read_scanned(text[key.end() : after])
        except InvalidJSON:
            return _broken_built_in(text, name, pos, end)
        pos = separator.end()
        close = separator if separator[1] == ")" else None
    return Attempt(head.start(), close.end(), name, arguments, True, "ok")


def _broken_built_in(text: str, name: str, pos: int, end: int) -> Attempt:
    mark = _NEXT_MARK.search(text, pos, end)
    stop = mark.start() if mark else end
    unclosed = mark is None and ")" not in text[pos:stop]
    return Attempt(pos, stop, name, status="unclosed" if unclosed else "malformed")


FORMAT = Format("llama3", (_OPEN,), parse)
