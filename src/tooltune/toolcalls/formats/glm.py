"""GLM calls: `<tool_call>NAME`, then `<arg_key>K</arg_key><arg_value>V</arg_value>` pairs.

GLM-4.5 writes each mark on a line of its own, GLM-4.7 all of them on one. Strings stand as they
are, everything else as JSON.
https://huggingface.co/zai-org/GLM-4.5/blob/main/chat_template.jinja
"""

from __future__ import annotations

from tooltune.toolcalls.markup import Marks, Reader
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_READER = Reader(
    Marks(
        opener="<tool_call>",
        call=r"<tool_call>\s*+(?:(?P<name>[^<>\[\]{}()\"'=\n]++(?=[<\n]|\Z))|(?=<arg_key>))",
        call_end="</tool_call>",
        parameter=r"<arg_key>(?P<key>[^<]*+)</arg_key>\s*+<arg_value>",
        parameter_end="</arg_value>",
    )
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, _READER.opener, _READER.for_tools(schemas), "glm")


FORMAT = Format("glm", ("<tool_call>",), parse, payload=None)
