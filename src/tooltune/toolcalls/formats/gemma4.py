"""Gemma-4 calls: `<|tool_call>call:NAME{key:<|"|>text<|"|>,n:5}<tool_call|>`, one marker a call.

Reasoning stands in `<|channel>thought … <channel|>`. A turn that calls stops at `<|tool_response>`.
DiffusionGemma's template leaves it to the model to write the header of a turn behind results.
https://ai.google.dev/gemma/docs/capabilities/text/function-calling-gemma4
"""

from __future__ import annotations

import re
from dataclasses import replace

from tooltune.toolcalls.gemma_text import call_reader
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<|tool_call>"
_HEADER = "<|turn>model"
_THINK = ("<|channel>thought", "<channel|>")
_read = call_reader(_OPEN, "<tool_call|>", '<|"|>')


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    turn = scan_turn(text, re.escape(_OPEN), _read, "gemma4", think=_THINK)
    return replace(turn, content=turn.content.removeprefix(_HEADER).lstrip())


FORMAT = Format("gemma4", (_OPEN,), parse, payload=None)
