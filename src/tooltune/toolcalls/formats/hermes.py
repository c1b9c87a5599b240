"""Hermes calls: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one tag a call.

Written by Hermes 2 Pro, Qwen2.5, Qwen3, SmolLM and others
(https://github.com/NousResearch/Hermes-Function-Calling). A list inside a tag gives several calls.
"""

from __future__ import annotations

import re

from tooltune.toolcalls.json_text import skip_space
from tooltune.toolcalls.payload import read_payload, spoil_last
from tooltune.toolcalls.scan import NO_SCHEMAS, Attempt, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_NEXT_MARK = re.compile("</?tool_call>|</think>")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, _OPEN, _read, "hermes")


def _read(text: str, start: int, end: int) -> Reading:
    payload = read_payload(text, start + len(_OPEN), end, _NEXT_MARK)
    attempts = payload.attempts or [Attempt(start, start)]
    closer = skip_space(text, payload.end, end)
    if payload.attempts and text.startswith(_CLOSE, closer, end):
        return Reading(attempts, closer + len(_CLOSE))
    mark = _NEXT_MARK.search(text, payload.end, end)
    if mark is not None and mark[0] == _CLOSE:
        # Something else stands between the JSON and the closer: together they are no JSON.
        return Reading(spoil_last(attempts, "invalid_json"), mark.end())
    if payload.attempts:
        return Reading(spoil_last(attempts, "unclosed"), payload.end)
    return Reading(attempts, mark.start() if mark else end)


FORMAT = Format("hermes", (_OPEN,), parse)
