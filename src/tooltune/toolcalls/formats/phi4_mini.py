"""Phi-4-mini calls: `<|tool_call|>[{"name": …, "arguments": {…}}]<|/tool_call|>`, or, where the
prompt asks for it as Microsoft's own templates do, `functools[{"name": …, "arguments": {…}}]`
without a closer.

https://huggingface.co/microsoft/Phi-4-mini-instruct#tool-enabled-function-calling-format
"""

from __future__ import annotations

import re

from tooltune.toolcalls.marked import Marks, read_calls
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_TAG = re.compile(r"<\|tool_calls?\|>")
_PREFIX = "functools"
# In prose `functools` is a module of Python's: a list of objects must begin behind it.
_OPEN = rf"{_TAG.pattern}|\b{_PREFIX}\s*+(?=\[\s*+(?:[{{\]]|\Z))"
_CLOSE = re.compile(r"\s*+<\|/tool_calls?\|>")
_NEXT_MARK = re.compile(rf"{_TAG.pattern}|\b{_PREFIX}\[|</think>|(?P<close><\|/tool_calls?\|>)")
_TAGGED = Marks(_CLOSE, _NEXT_MARK)
_PREFIXED = Marks(_CLOSE, _NEXT_MARK, close_required=False)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, _OPEN, _read, "phi4_mini")


def _read(text: str, start: int, end: int) -> Reading:
    if tag := _TAG.match(text, start, end):
        return read_calls(text, start, tag.end(), end, _TAGGED)
    return read_calls(text, start, start + len(_PREFIX), end, _PREFIXED)


FORMAT = Format("phi4_mini", ("<|tool_call|>", "<|tool_calls|>", _PREFIX), parse)
