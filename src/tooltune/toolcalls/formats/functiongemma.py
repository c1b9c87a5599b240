"""FunctionGemma calls: `<start_function_call>call:NAME{key:<escape>text<escape>,n:5}` and
`<end_function_call>` behind it, one marker a call.

A turn that calls stops at `<start_function_response>`.
https://ai.google.dev/gemma/docs/functiongemma/formatting-and-best-practices
"""

from __future__ import annotations

import re

from tooltune.toolcalls.gemma_text import call_reader
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<start_function_call>"
_read = call_reader(_OPEN, "<end_function_call>", "<escape>")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, re.escape(_OPEN), _read, "functiongemma")


FORMAT = Format("functiongemma", (_OPEN,), parse, payload=None)
