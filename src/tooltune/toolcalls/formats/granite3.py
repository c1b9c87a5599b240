"""Granite 3 calls: `<|tool_call|>[{"name": …, "arguments": {…}}, …]` (3.0) or the same behind
`<tool_call>` (3.1 and later), without a closer. Granite 4 writes as Hermes does.

Reasoning stands between "Here is my thought process:" and "Here is my response:" (3.2) or in think
tags, with the answer in `<response>` tags (3.3).
https://github.com/ibm-granite/granite-3.0-language-models/blob/main/paper.pdf (table 3)
"""

from __future__ import annotations

import re

from tooltune.toolcalls.marked import Marks, read_calls, without_wrappers
from tooltune.toolcalls.scan import NO_SCHEMAS, THINK, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_OPEN = re.compile(r"<\|tool_call\|>(?:\s*+<tool_call>)?|<tool_call>")
_MARKS = Marks(
    close=re.compile(r"\s*+(?:</tool_call>|<\|/tool_call\|>)"),
    marks=re.compile(r"<\|tool_call\|>|<tool_call>|</think>|(?P<close></tool_call>)"),
)
_LIST = re.compile(r"\s*+(?:\[|\Z)")
_THOUGHTS = re.compile(r"\s*+(Here(?: is|'s) my thought process:)")
_ANSWER = re.compile(r"Here(?: is|'s) my response:")
_WRAPPERS = re.compile(r"\A<response>|</response>\Z")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    turn = scan_turn(text, _OPEN.pattern, _read, "granite3", think=_think(text))
    return without_wrappers(turn, _WRAPPERS)


def _think(text: str) -> tuple[str, str]:
    thoughts = _THOUGHTS.match(text)
    answer = _ANSWER.search(text) if thoughts else None
    return (thoughts[1], answer[0] if answer else "Here is my response:") if thoughts else THINK


def _read(text: str, start: int, end: int) -> Reading:
    opener = _OPEN.match(text, start, end)
    body = opener.end() if opener else start
    # Granite 3 writes lists: an object in a tag is Hermes' way, and ends in a closer there.
    listed = _LIST.match(text, body, end) is not None
    return read_calls(text, start, body, end, _MARKS._replace(close_required=not listed))


FORMAT = Format("granite3", ("<|tool_call|>", "<tool_call>"), parse)
