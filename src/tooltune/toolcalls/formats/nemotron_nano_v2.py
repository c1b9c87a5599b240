"""Nemotron Nano v2 calls: `<TOOLCALL>[{"name": …, "arguments": {…}}, …]</TOOLCALL>`.

Nemotron-Super v1.5 writes the same. Nemotron-3 writes XML.
https://huggingface.co/nvidia/NVIDIA-Nemotron-Nano-9B-v2/blob/main/tokenizer_config.json
"""

from __future__ import annotations

import re

from tooltune.toolcalls.marked import Marks, read_calls
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<TOOLCALL>"
_MARKS = Marks(
    close=re.compile(r"\s*+</TOOLCALL>"),
    marks=re.compile("<TOOLCALL>|</think>|(?P<close></TOOLCALL>)"),
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, _OPEN, _read, "nemotron_nano_v2")


def _read(text: str, start: int, end: int) -> Reading:
    return read_calls(text, start, start + len(_OPEN), end, _MARKS)


FORMAT = Format("nemotron_nano_v2", (_OPEN,), parse)
