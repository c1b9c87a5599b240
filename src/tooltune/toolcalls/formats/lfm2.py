"""LFM2 calls: `<|tool_call_start|>[f(a="x"), g(n=1)]<|tool_call_end|>`, Python calls in a list.

Asked for JSON, the models write it between the same markers. LFM2's later template escapes its
texts as Python does, LFM2.5's writes them as they are (`'it's'`): a single quote inside a text in
single quotes is therefore read as part of it where no argument or call can end. A backslash is
read as an escape, for nothing tells which of the two templates wrote it.
https://docs.liquid.ai/lfm/key-concepts/tool-use
"""

from __future__ import annotations

import re

from tooltune.toolcalls.payload import read_payload
from tooltune.toolcalls.python_calls import Style, read_calls, read_tagged
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = "<|tool_call_start|>"
_CLOSE = "<|tool_call_end|>"
_NEXT_MARK = re.compile(r"<\|tool_call_(?:start|end)\|>|</think>")
_STYLE = Style(_NEXT_MARK, _CLOSE, raw_quotes=True)
_JSON = re.compile(r"\s*+(?:\[\s*+)?\{")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""

    def read(text: str, start: int, end: int) -> Reading:
        body = start + len(_OPEN)
        if _JSON.match(text, body, end):
            payload = read_payload(text, body, end, _NEXT_MARK)
        else:
            payload = read_calls(text, body, end, schemas, _STYLE)
        return read_tagged(text, payload, end, _STYLE)

    return scan_turn(text, re.escape(_OPEN), read, "lfm2")


FORMAT = Format("lfm2", (_OPEN,), parse, payload=None)
