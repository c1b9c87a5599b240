"""Find the tool schemas that a system text holds."""

from __future__ import annotations

import re
from typing import Any

from tooltune.traces.jsonio import decode_at, skip_space

_KEYS = r'"(?:name|type|function|description|parameters)"'
TOOL_LIST = re.compile(r"\[\s*\{\s*" + _KEYS)
TOOL_OBJECT = re.compile(r"(?:\[\s*)?\{\s*" + _KEYS)


def cut_tools(text: str, start: re.Pattern[str], where: str) -> tuple[str, list[Any], str]:
    """The text before the first tools, the tools, and the text behind them.

    Several values may follow each other (Glaive writes one object after the other). Raises
    `RowError` as `decode_at` where what starts like a tool is not JSON.
    """
    match = start.search(text)
    if match is None:
        return text, [], ""
    tools: list[Any] = []
    at = skip_space(text, match.start())
    end = at
    while text[at : at + 1] in ("{", "["):
        value, end = decode_at(text, at, where)
        tools.extend(value if isinstance(value, list) else [value])
        at = skip_space(text, end)
        if not start.match(text, at):
            break
    return text[: match.start()], tools, text[end:]
