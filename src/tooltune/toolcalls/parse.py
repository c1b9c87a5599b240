"""From generated text to tool calls: which family wrote it, what it called, what it said beside."""

from __future__ import annotations

from dataclasses import replace

from tooltune.errors import UserError
from tooltune.toolcalls.formats import bare_json, harmony, hermes, llama3, mistral
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Schemas, text_outside_calls
from tooltune.toolcalls.tools import Tools, tool_schemas
from tooltune.toolcalls.types import ParsedToolCall, ParsedTurn

FORMATS: dict[str, Format] = {
    "hermes": hermes.FORMAT,
    "llama3": llama3.FORMAT,
    "mistral": mistral.FORMAT,
    "harmony": harmony.FORMAT,
    "bare_json": bare_json.FORMAT,
}


def parse_tool_calls(
    text: str, format: str | None = None, tools: Tools | None = None
) -> list[ParsedToolCall]:
    """Every attempt at a tool call in `text`, in order, one record each.

    Decode with special tokens kept, or the markers of most families vanish. Calls inside
    reasoning are prose and not reported. See `parse_turn` for the arguments.
    """
    return list(parse_turn(text, format, tools).calls)


def parse_turn(text: str, format: str | None = None, tools: Tools | None = None) -> ParsedTurn:
    """Take a generated turn apart into reasoning, content and calls.

    `format` is a name in `FORMATS`; `None` lets the markers decide, and reads bare JSON objects
    where no marked call is found. With `tools` (OpenAI dictionaries, wrapped or bare, or
    `Tool`s), a well-formed call of any other name has the status `unknown_tool`.

    No text makes it raise, and time is linear in the text. Raises `UserError` for a format that
    does not exist and for a tool without a name.
    """
    known = NO_SCHEMAS if tools is None else tool_schemas(tools)
    turn = _detect(text, known) if format is None else _format(format).parse(text, known)
    if tools is None:
        return turn
    calls = tuple(
        replace(call, status="unknown_tool")
        if call.status == "ok" and call.name not in known
        else call
        for call in turn.calls
    )
    return replace(turn, calls=calls)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise UserError(
            f"unknown tool-call format {name!r}",
            fix=f"use one of {', '.join(FORMATS)}, or none to detect it from the text",
        )
    return FORMATS[name]


def _detect(text: str, schemas: Schemas) -> ParsedTurn:
    """Read `text` by the family whose markers it shows.

    Markers inside a bare call's own strings show nothing. Where several families' markers occur,
    the harmony header that stands first decides, else the call that stands first.
    """
    if not any(marker in text for known in FORMATS.values() for marker in known.markers):
        return _bare(text)
    outside = text_outside_calls(text, bare_json.parse(text))
    first_marks = {
        known.name: min(outside.find(marker) for marker in known.markers if marker in outside)
        for known in FORMATS.values()
        if any(marker in outside for marker in known.markers)
    }
    if first_marks and min(first_marks, key=first_marks.__getitem__) == "harmony":
        return harmony.parse(text)
    turns = [turn for name in first_marks if (turn := FORMATS[name].parse(text, schemas)).calls]
    return min(turns, key=lambda turn: turn.calls[0].span) if turns else _bare(text)


def _bare(text: str) -> ParsedTurn:
    turn = bare_json.parse(text)
    return turn if turn.calls else replace(turn, format=None)
