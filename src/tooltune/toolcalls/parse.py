"""From generated text to tool calls: which family wrote it, what it called, what it said beside."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from tooltune.errors import UserError
from tooltune.toolcalls.detect import detect
from tooltune.toolcalls.formats import (
    atem,
    bare_json,
    cohere,
    deepseek,
    deepseek_v3_2,
    functiongemma,
    gemma3,
    gemma4,
    glm,
    granite3,
    harmony,
    hermes,
    kimi_k2,
    lfm2,
    llama3,
    minimax_m2,
    mistral,
    nemotron_nano_v2,
    olmo3,
    phi4_mini,
    pythonic,
    qwen3_xml,
    xlam,
)
from tooltune.toolcalls.recover import OTHER_FAMILY, mend
from tooltune.toolcalls.scan import NO_SCHEMAS, Format, Schemas
from tooltune.toolcalls.tools import Tools, tool_schemas
from tooltune.toolcalls.types import ParsedToolCall, ParsedTurn

Mode = Literal["strict", "recover"]

FORMATS: dict[str, Format] = {
    "hermes": hermes.FORMAT,
    "llama3": llama3.FORMAT,
    "mistral": mistral.FORMAT,
    "harmony": harmony.FORMAT,
    "bare_json": bare_json.FORMAT,
    "qwen3_xml": qwen3_xml.FORMAT,
    "glm": glm.FORMAT,
    "minimax_m2": minimax_m2.FORMAT,
    "deepseek_v3_2": deepseek_v3_2.FORMAT,
    "atem": atem.FORMAT,
    "pythonic": pythonic.FORMAT,
    "lfm2": lfm2.FORMAT,
    "olmo3": olmo3.FORMAT,
    "gemma3": gemma3.FORMAT,
    "functiongemma": functiongemma.FORMAT,
    "gemma4": gemma4.FORMAT,
    "deepseek_v3": deepseek.V3_FORMAT,
    "deepseek_v3_1": deepseek.V3_1_FORMAT,
    "kimi_k2": kimi_k2.FORMAT,
    "phi4_mini": phi4_mini.FORMAT,
    "granite3": granite3.FORMAT,
    "cohere": cohere.FORMAT,
    "nemotron_nano_v2": nemotron_nano_v2.FORMAT,
    "xlam": xlam.FORMAT,
}


def parse_tool_calls(
    text: str,
    format: str | None = None,
    tools: Tools | None = None,
    mode: Mode = "strict",
) -> list[ParsedToolCall]:
    """Every attempt at a tool call in `text`, in order, one record each.

    A record has the call's `name`, `arguments`, `status` (`ok`, or what is wrong with it: see
    `docs/parsers.md`), its text (`raw`) and character offsets (`span`). Decode with special tokens
    kept, or the markers of most families vanish. Calls inside reasoning are prose and not reported;
    nothing is dropped or merged otherwise. See `parse_turn` for the arguments.

    >>> call, = parse_tool_calls('<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>')
    >>> call.name, call.arguments, call.status
    ('f', {'x': 1}, 'ok')

    Never raises because of the text. Raises `UserError` for an unknown format or mode, and for a
    tool without a name.
    """
    return list(parse_turn(text, format, tools, mode).calls)


def parse_turn(
    text: str,
    format: str | None = None,
    tools: Tools | None = None,
    mode: Mode = "strict",
) -> ParsedTurn:
    """Take a generated turn apart into reasoning, content and calls.

    `format` is a name in `FORMATS`; `None` lets the markers decide, and reads bare JSON objects
    where no marked call is found (`detect`). Under the mode `strict` a call is what the family's
    syntax says; `recover` also reads attempts whose meaning is plain though their syntax is
    broken, and calls in another family's syntax where there are none in `format`'s; what was
    mended stands in the call's `repairs`. With `tools` (OpenAI dictionaries, wrapped or bare, or
    `Tool`s), a well-formed call of any other name has the status `unknown_tool`.

    No text makes it raise, and time is linear in the text. Raises `UserError` for a format or a
    mode that does not exist and for a tool without a name.
    """
    known = NO_SCHEMAS if tools is None else tool_schemas(tools)
    with _collector_paused():
        return _parse_turn(text, format, tools, known, mode)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without the cycle collector: all that a parser makes is kept, and nothing is in a cycle.

    Else it looks at every call of a long text several times, a third of the whole time.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _parse_turn(
    text: str, format: str | None, tools: Tools | None, known: Schemas, mode: Mode
) -> ParsedTurn:
    turn = detect(text, known, FORMATS) if format is None else _format(format).parse(text, known)
    if mode == "recover":
        turn = _recovered(text, turn, known)
    elif mode != "strict":
        raise UserError(f"unknown mode {mode!r}", fix="use strict or recover")
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


def _recovered(text: str, turn: ParsedTurn, schemas: Schemas) -> ParsedTurn:
    if turn.format is not None:
        turn = mend(text, turn, FORMATS[turn.format])
    if turn.calls:
        return turn
    other = detect(text, schemas, FORMATS)
    if not other.calls or other.format is None:
        return turn
    mended = mend(text, other, FORMATS[other.format])
    calls = tuple(
        replace(call, repairs=(OTHER_FAMILY, *call.repairs)) if call.status == "ok" else call
        for call in mended.calls
    )
    return replace(mended, calls=calls)
