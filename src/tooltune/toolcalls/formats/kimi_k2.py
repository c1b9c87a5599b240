"""Kimi K2 calls: a section of `<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}
<|tool_call_end|>`, where the number counts the conversation's calls.

https://huggingface.co/moonshotai/Kimi-K2-Instruct/blob/main/docs/tool_call_guidance.md
"""

from __future__ import annotations

import re

from tooltune.toolcalls.marked import Marks, without_wrappers
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.sections import Head, Section, read_section
from tooltune.toolcalls.types import ParsedTurn

_CALL = "<|tool_call_begin|>"
_HEAD = re.compile(r"([^<]*+)<\|tool_call_argument_begin\|>")
_ID = re.compile(r"(functions\.)?(.*?)(:[0-9]+)?", re.DOTALL)
_WRAPPERS = re.compile(r"<\|tool_calls?_section_(?:begin|end)\|>")


def _read_head(text: str, start: int, end: int) -> Head | None:
    """The template writes the id of the call, whatever it is: without the prefix and the number
    it names no function."""
    head = _HEAD.match(text, start, end)
    if head is None:
        return None
    written = _ID.fullmatch(head[1].strip())
    named = written is not None and (written[1] or written[3])
    return Head(written[2] or None if written and named else None, head.end())


_SECTION = Section(
    open=re.compile(r"<\|tool_calls?_section_begin\|>"),
    close=re.compile(r"<\|tool_calls?_section_end\|>"),
    call=_CALL,
    read_head=_read_head,
    arguments=Marks(
        close=re.compile(r"\s*+<\|tool_call_end\|>"),
        marks=re.compile(
            r"<\|tool_calls?_section_begin\|>|<\|tool_call_begin\|>|</think>"
            r"|(?P<close><\|tool_call_end\|>|<\|tool_calls?_section_end\|>)"
        ),
    ),
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return without_wrappers(scan_turn(text, _SECTION.opener, _read, "kimi_k2"), _WRAPPERS)


def _read(text: str, start: int, end: int) -> Reading:
    return read_section(text, start, end, _SECTION)


FORMAT = Format(
    "kimi_k2",
    ("<|tool_calls_section_begin|>", "<|tool_call_section_begin|>", _CALL),
    parse,
    payload="arguments",
)
