"""OLMo-3 calls: Python calls between `<function_calls>` and `</function_calls>`, one a line.

The words of values may be Python's or JSON's: the template writes values as JSON.
https://huggingface.co/allenai/Olmo-3-7B-Instruct
"""

from __future__ import annotations

import re

from tooltune.toolcalls.python_calls import Style, read_calls, read_tagged
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<function_calls>"
_CLOSE = "</function_calls>"
_STYLE = Style(re.compile("</?function_calls>|</think>"), _CLOSE)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""

    def read(text: str, start: int, end: int) -> Reading:
        payload = read_calls(text, start + len(_OPEN), end, schemas, _STYLE)
        return read_tagged(text, payload, end, _STYLE)

    return scan_turn(text, _OPEN, read, "olmo3")


FORMAT = Format("olmo3", (_OPEN,), parse, payload=None)
