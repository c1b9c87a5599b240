"""Hermes calls: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one tag a call.

Written by Hermes 2 Pro, Qwen2.5, Qwen3, Granite 4, SmolLM and others
(https://github.com/NousResearch/Hermes-Function-Calling). SmolLM2 and SmolLM3 also write a list
inside a tag, which gives several calls.
"""

from __future__ import annotations

import re

from tooltune.toolcalls.marked import Marks, read_calls
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<tool_call>"
_MARKS = Marks(
    close=re.compile(r"\s*+</tool_call>"),
    marks=re.compile("<tool_call>|</think>|(?P<close></tool_call>)"),
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, _OPEN, _read, "hermes")


def _read(text: str, start: int, end: int) -> Reading:
    return read_calls(text, start, start + len(_OPEN), end, _MARKS)


FORMAT = Format("hermes", (_OPEN,), parse)
