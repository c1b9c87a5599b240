"""MiniMax-M2 calls: `<minimax:tool_call><invoke name="f"><parameter name="x">1</parameter>…`.

One block holds every call of a turn. Strings stand as they are, everything else as JSON.
https://huggingface.co/MiniMaxAI/MiniMax-M2/blob/main/docs/tool_calling_guide.md
"""

from __future__ import annotations

from tooltune.toolcalls.markup import Marks, Reader
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_READER = Reader(
    Marks(
        opener="<minimax:tool_call>",
        call=r'<invoke name="(?P<name>[^"<\n]*+)">',
        call_end="</invoke>",
        parameter=r'<parameter name="(?P<key>[^"<\n]*+)">',
        parameter_end="</parameter>",
        block_end="</minimax:tool_call>",
    )
)


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time."""
    return scan_turn(text, _READER.opener, _READER.for_tools(schemas), "minimax_m2")


FORMAT = Format("minimax_m2", ("<minimax:tool_call>", "<invoke name="), parse, payload=None)
