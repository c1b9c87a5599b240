"""Mistral calls: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]` (tokenizers v3 and v7), or, once
a call, `[TOOL_CALLS]name[CALL_ID]id[ARGS]{…}` (v11) and `[TOOL_CALLS]name[ARGS]{…}` (v13 on).

Reasoning stands between `[THINK]` and `[/THINK]`, or in think tags (Magistral with v11).
https://github.com/mistralai/mistral-common (tokens/tokenizers/instruct.py)
https://docs.mistral.ai/cookbooks/concept-deep-dive-tokenization-tool_calling
"""

from __future__ import annotations

import re

from tooltune.toolcalls.marked import Marks, first_think, read_arguments, read_calls
from tooltune.toolcalls.scan import NO_SCHEMAS, THINK, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "[TOOL_CALLS]"
_THINK = ("[THINK]", "[/THINK]")
_NAMED = re.compile(
    r"\[TOOL_CALLS\]\s*+(?:([^\s\[\]{}]*+)\s*+(?:\[CALL_ID\][^\s\[\]{}]*+)?+\[ARGS\]"
    r"|([^\s\[\]{}]++)\s*+(?:\[CALL_ID\][^\s\[\]{}]*+)?+(?=\{|\Z))"
)
_MARKS = Marks(
    close=re.compile(""),
    marks=re.compile(r"\[TOOL_CALLS\]|</think>|\[/THINK\]"),
    close_required=False,
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    think = first_think(text, THINK, _THINK)
    return scan_turn(text, re.escape(_OPEN), _read, "mistral", think=think)


def _read(text: str, start: int, end: int) -> Reading:
    if named := _NAMED.match(text, start, end):
        name = named[1] or named[2] or None
        attempt = read_arguments(text, start, name, named.end(), end, _MARKS)
        return Reading([attempt], attempt.end)
    return read_calls(text, start, start + len(_OPEN), end, _MARKS)


FORMAT = Format("mistral", (_OPEN,), parse, payload="arguments")
