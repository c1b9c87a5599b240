"""DeepSeek-V3.2 calls (DSML): `<｜DSML｜invoke name="f">` around parameters that say their type.

`<｜DSML｜parameter name="x" string="true">` holds a string as it is, `string="false"` any other
value as JSON. V3.2 has `<｜DSML｜function_calls>` around a turn's calls, V4 `<｜DSML｜tool_calls>`.
https://huggingface.co/deepseek-ai/DeepSeek-V3.2/blob/main/encoding/encoding_dsv32.py
"""

from __future__ import annotations

from tooltune.toolcalls.markup import Marks, Reader
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_READER = Reader(
    Marks(
        opener="<｜DSML｜(?:function_calls|tool_calls)>",
        call=r'<｜DSML｜invoke name="(?P<name>[^"<\n]*+)">',
        call_end="</｜DSML｜invoke>",
        parameter=(
            r'<｜DSML｜parameter name="(?P<key>[^"<\n]*+)"'
            r'(?:\s++string="(?P<string>true|false)")?+\s*+>'
        ),
        parameter_end="</｜DSML｜parameter>",
        block_end="</｜DSML｜(?:function_calls|tool_calls)>",
    )
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, _READER.opener, _READER.for_tools(schemas), "deepseek_v3_2")


FORMAT = Format("deepseek_v3_2", ("<｜DSML｜",), parse, payload=None)
