"""DeepSeek calls, a section of them. V3 and R1 write the type, the name and fenced arguments,

    <｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME
    ```json
    {…}
    ```<｜tool▁call▁end｜>

and V3.1 `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>`. Models mix the two, so
both formats read both; they differ in what shows them.
https://huggingface.co/deepseek-ai/DeepSeek-V3/blob/main/tokenizer_config.json
https://huggingface.co/deepseek-ai/DeepSeek-V3.1#toolcall
"""

from __future__ import annotations

import re

from tooltune.toolcalls.marked import Marks, without_wrappers
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.sections import Head, Section, read_section
from tooltune.toolcalls.types import ParsedTurn

_BEGIN = "<｜tool▁calls▁begin｜>"
_CALL = "<｜tool▁call▁begin｜>"
_TYPE = "function"
# V3's name, which ends in a line or the fence; V3.1's arguments begin instead.
_NAME = r"([^\n`<{\[\"]*+)(\s*+```(?:json)?+|\n|\Z)"
_HEAD = re.compile(rf"([^<]*+)<｜tool▁sep｜>(?:{_NAME})?+")
_FENCE = re.compile(r"\s*+```\s*+")
_WRAPPERS = re.compile(r"<｜tool▁calls▁(?:begin|end)｜>")


def _read_head(text: str, start: int, end: int) -> Head | None:
    head = _HEAD.match(text, start, end)
    if head is None:
        return None
    before, after = head[1].strip(), (head[2] or "").strip()
    fenced_alone = before == _TYPE and "```" in (head[3] or "")
    return Head(after or (None if fenced_alone else before or None), head.end())


_SECTION = Section(
    open=re.compile(_BEGIN),
    close=re.compile("<｜tool▁calls▁end｜>"),
    call=_CALL,
    read_head=_read_head,
    arguments=Marks(
        close=re.compile(r"(?:\s*+```)?\s*+<｜tool▁call▁end｜>"),
        marks=re.compile("<｜tool▁calls?▁begin｜>|</think>|(?P<close><｜tool▁calls?▁end｜>)"),
    ),
)


def parse_v3(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return _parse(text, "deepseek_v3")


def parse_v3_1(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return _parse(text, "deepseek_v3_1")


def _parse(text: str, name: str) -> ParsedTurn:
    return without_wrappers(scan_turn(text, _SECTION.opener, _read, name), _WRAPPERS)


def _read(text: str, start: int, end: int) -> Reading:
    reading = read_section(text, start, end, _SECTION)
    if reading.attempts and reading.attempts[-1].status == "unclosed":
        fence = _FENCE.match(text, reading.end, end)
        return reading._replace(end=fence.end()) if fence else reading
    return reading


V3_FORMAT = Format("deepseek_v3", (f"{_TYPE}<｜tool▁sep｜>",), parse_v3, payload="arguments")
V3_1_FORMAT = Format("deepseek_v3_1", (_BEGIN, _CALL), parse_v3_1, payload="arguments")
