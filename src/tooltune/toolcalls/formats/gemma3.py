"""Gemma-3 calls. The model has no call syntax of its own, and writes what the prompt asks for.

Documented are Python calls in a list (`[f(a=1)]`), or in a fence of the kind tool_code, maybe in
`print(…)`, and the JSON `{"name": …, "parameters": {…}}`, bare or in a fence. All that stands in
a tool_code fence is an attempt. A python fence holds calls if nothing but calls of known tools
stands in it (or, where no tools are known, nothing but calls with named arguments); a json fence
and text without one as `bare_json` says.
https://ai.google.dev/gemma/docs/capabilities/function-calling
"""

from __future__ import annotations

import re

from tooltune.toolcalls.formats import bare_json
from tooltune.toolcalls.formats.pythonic import BARE_OPEN, bare_reader
from tooltune.toolcalls.json_text import skip_space
from tooltune.toolcalls.python_calls import Style, read_calls, read_tagged
from tooltune.toolcalls.scan import NO_SCHEMAS, Attempt, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_FENCE = re.compile(r"```(tool_code|python|json)?[^\S\n]*+(?:\n|\Z)?")
_CLOSE = "```"
_STYLE = Style(re.compile("```"), _CLOSE, wrapped=True)
_FENCE_END = re.compile(r"^[^\S\n]*+```", re.MULTILINE)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    read_list = bare_reader(schemas)

    def read(text: str, start: int, end: int) -> Reading:
        fence = _FENCE.match(text, start, end)
        if fence is None:
            return read_list(text, start, end)
        if fence[1] == "tool_code":
            payload = read_calls(text, fence.end(), end, schemas, _STYLE)
            return read_tagged(text, payload, end, _STYLE)
        if fence[1] == "python":
            return _read_code(text, fence.end(), end, schemas)
        if fence[1] == "json":
            return _read_json(text, fence.end(), end)
        return Reading([], fence.end())

    turn = scan_turn(text, rf"```|{BARE_OPEN}", read, "gemma3")
    bare = bare_json.parse_as(text, "gemma3")
    if bare.calls and (not turn.calls or bare.calls[0].span[0] < turn.calls[0].span[0]):
        return bare  # fences in its strings, if any, mean nothing
    return turn


def _read_code(text: str, start: int, end: int, schemas: Schemas) -> Reading:
    closer = _FENCE_END.search(text, start, end)
    payload = read_calls(text, start, end, schemas, _STYLE)
    after = skip_space(text, payload.end, end)
    if payload.whole and text.startswith(_CLOSE, after, end):
        good = (a.status == "ok" and _is_meant(a, schemas) for a in payload.attempts)
        if all(good):
            return Reading(payload.attempts, after + len(_CLOSE))
    return Reading([], closer.end() if closer else end)


def _is_meant(attempt: Attempt, schemas: Schemas) -> bool:
    return attempt.name in schemas if schemas else bool(attempt.arguments)


def _read_json(text: str, start: int, end: int) -> Reading:
    closer = _FENCE_END.search(text, start, end)
    body_end, after = (closer.start(), closer.end()) if closer else (end, end)
    attempts = [
        Attempt(
            start + call.span[0],
            start + call.span[1],
            call.name,
            call.arguments,
            call.arguments_valid_json,
            call.status,
        )
        for call in bare_json.parse(text[start:body_end]).calls
    ]
    return Reading(attempts, after)


FORMAT = Format("gemma3", ("```tool_code",), parse, payload=None)
