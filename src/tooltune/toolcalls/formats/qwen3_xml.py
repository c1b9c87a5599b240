"""Qwen3-Coder calls: `<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></…>`.

Written by Qwen3-Coder, Qwen3.5 and later, and Nemotron-3, whose templates print a line break on
both sides of a value, strings as they are, objects and lists as JSON, and the rest as JSON or, in
some, as Python does (`True`, `None`). Qwen3-Coder at times leaves out the opening `<tool_call>`.
https://huggingface.co/Qwen/Qwen3-Coder-30B-A3B-Instruct/blob/main/chat_template.jinja
"""

from __future__ import annotations

from tooltune.toolcalls.markup import Marks, Reader
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_READER = Reader(
    Marks(
        opener="<tool_call>",
        call=r"<function=(?P<name>[^<>\n]*+)>",
        call_end="</function>",
        parameter=r"<parameter=(?P<key>[^<>\n]*+)>",
        parameter_end="</parameter>",
        block_end="</tool_call>",
        bare_calls=True,
        edge="\n",
        python_words=True,
    )
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, _READER.opener, _READER.for_tools(schemas), "qwen3_xml")


FORMAT = Format("qwen3_xml", ("<tool_call>", "<function="), parse, payload=None)
