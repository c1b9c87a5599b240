"""The forgiving reading: what a turn's broken attempts must have meant.

"Is it my parser or my model?" The strict reading is what a serving engine executes; where this one
finds a call and the strict one does not, the model knew what to call and missed the syntax. Every
repair is kept with the call, so that no score mixes the two by accident.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tooltune.toolcalls.payload import as_call
from tooltune.toolcalls.scan import Format
from tooltune.toolcalls.tolerant_json import read_tolerant
from tooltune.toolcalls.types import ParsedToolCall, ParsedTurn

_CODE = re.compile(r"[(=]")  # before a brace: a dictionary inside code, and no call

NOT_CLOSED = "not_closed"
"""The repair of a call that is whole, and whose closing marker is missing."""
TEXT_AROUND = "text_around"
"""The repair of a call that is whole, with something behind it that does not belong there."""

OTHER_FAMILY = "other_family"
"""The repair of a call in the syntax of another family than the one that was declared."""


def mend(text: str, turn: ParsedTurn, family: Format) -> ParsedTurn:
    """`turn` with the attempts that can be read after all as calls of status `ok`.

    `family` read the turn. What cannot be mended is left as it is. Never raises; linear time.
    """
    return replace(turn, calls=tuple(_mended(text, call, family) for call in turn.calls))


def _mended(text: str, call: ParsedToolCall, family: Format) -> ParsedToolCall:
    if call.status == "ok":
        return call
    if call.status == "unclosed" and call.name and call.arguments_valid_json:
        return replace(call, status="ok", repairs=(NOT_CLOSED,))
    start, end = call.span
    brace = text.find("{", start, end)
    if family.payload is None or brace < 0:
        return call
    read = read_tolerant(text, brace, end)
    if read is None or not isinstance(read.value, dict):
        return call
    if "{" in text[read.end : end]:  # a second object: one call would stand for two
        return call
    if family.payload == "call" and _CODE.search(text, start, brace):
        return call
    if family.payload == "arguments" and call.name:
        name, arguments = call.name, read.value
    else:
        value = _inner(read.value)
        if family.name_key in value:
            value = {**value, "name": value[family.name_key]}
        attempt = as_call(value, start, end)
        if attempt.status != "ok" or attempt.name is None:
            return call
        name, arguments = attempt.name, attempt.arguments
    around = NOT_CLOSED if call.status == "unclosed" else TEXT_AROUND
    return replace(
        call,
        name=name,
        arguments=arguments,
        arguments_valid_json=True,
        status="ok",
        repairs=read.repairs or (around,),
    )


def _inner(value: dict[str, Any]) -> dict[str, Any]:
    """The one call of `{"tool_calls": [{…}]}`, else the object itself."""
    listed = value.get("tool_calls")
    is_one = isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], dict)
    return dict(listed[0]) if isinstance(listed, list) and is_one else value
