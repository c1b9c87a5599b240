"""Llama 3 calls: `<|python_tag|>{"name": …, "parameters": {…}}`, several separated by `;` or lines.

Built-in tools are written `<|python_tag|>brave_search.call(query="…")`. Llama 3.1 also writes the
JSON without the tag, which is read as bare JSON. Code behind the tag (the code interpreter's) is
an attempt without a name: no call that a trace could hold.
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
_ANOTHER = re.compile(r"\s*+[;,]?\s*+(?=\{|[A-Za-z_]\w*+\.call\()")
_LAST_SEPARATOR = re.compile(r"\s*+;")
_BARE_SEPARATOR = re.compile(r"\s*+;(?=\s*+(?:\{|\Z))")
_BUILT_IN = re.compile(r"\s*+([A-Za-z_]\w*+)\.call\(")
_ARGUMENT = re.compile(r"\s*+([A-Za-z_]\w*+)\s*+=\s*+")
_NO_ARGUMENTS = re.compile(r"\s*+\)")
_SEPARATOR = re.compile(r"\s*+([,)])")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    bare = bare_json.parse_as(text, "llama3", _BARE_SEPARATOR)
    if _OPEN not in text_outside_calls(text, bare):
        return bare
    return scan_turn(text, re.escape(_OPEN), _read, "llama3")


def _read(text: str, start: int, end: int) -> Reading:
    pos = start + len(_OPEN)
    attempts: list[Attempt] = []
    while True:
        if built_in := _BUILT_IN.match(text, pos, end):
            attempts.append(_read_built_in(text, built_in, end))
            pos, whole = attempts[-1].end, attempts[-1].status == "ok"
        else:
            payload = read_payload(text, pos, end, _NEXT_MARK)
            attempts += payload.attempts
            pos, whole = payload.end, payload.whole
        another = _ANOTHER.match(text, pos, end) if whole else None
        if another is None:
            break
        pos = another.end()
    if not attempts:
        mark = _NEXT_MARK.search(text, pos, end)
        return Reading([Attempt(start, start)], mark.start() if mark else end)
    separator = _LAST_SEPARATOR.match(text, pos, end)
    return Reading(attempts, separator.end() if separator else pos)


def _read_built_in(text: str, head: re.Match[str], end: int) -> Attempt:
    name, pos = head[1], head.end()
    arguments: dict[str, Any] = {}
    close = _NO_ARGUMENTS.match(text, pos, end)
    while close is None:
        key = _ARGUMENT.match(text, pos, end)
        if key is None or key[1] in arguments:
            return _broken_built_in(text, head, pos, end)
        after, whole = scan_json(text, key.end(), end)
        separator = _SEPARATOR.match(text, after, end) if whole else None
        if separator is None:
            return _broken_built_in(text, head, pos, end)
        try:
            arguments[key[1]] = read_scanned(text[key.end() : after])
        except InvalidJSON:
            return _broken_built_in(text, head, pos, end)
        pos = separator.end()
        close = separator if separator[1] == ")" else None
    return Attempt(head.start(), close.end(), name, arguments, True, "ok")


def _broken_built_in(text: str, head: re.Match[str], pos: int, end: int) -> Attempt:
    mark = _NEXT_MARK.search(text, pos, end)
    stop = mark.start() if mark else end
    unclosed = mark is None and ")" not in text[pos:stop]
    return Attempt(head.start(), stop, head[1], status="unclosed" if unclosed else "malformed")


FORMAT = Format("llama3", (_OPEN,), parse)
