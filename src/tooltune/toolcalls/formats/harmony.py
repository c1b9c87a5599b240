"""Harmony calls (gpt-oss): messages with a channel and a recipient,
`<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>`.

The recipient may stand before or after the channel, and in the role part
(`<|start|>assistant to=functions.NAME<|channel|>…`). It makes a message a call in every channel:
gpt-oss calls functions in `analysis` too. Without one the `analysis` channel is reasoning, and all
other messages are content; so is a message to the assistant (a tool result that was made up).

The names of built-in tools keep their form (`python`, `browser.search`). The body of `python` is
code: an attempt with its name that is `malformed`, for it has no arguments that a trace could hold.
https://cookbook.openai.com/articles/openai-harmony
"""

from __future__ import annotations

import re

from tooltune.toolcalls.json_text import InvalidJSON, read_scanned, scan_json, skip_space
from tooltune.toolcalls.payload import as_arguments, broken
from tooltune.toolcalls.scan import NO_SCHEMAS, Attempt, Format, Schemas, make_turn, turn_end
from tooltune.toolcalls.types import ParsedTurn, Status

_START = "<|start|>"
_BODY_END = re.compile(r"<\|(?:start|channel)\|>|(?P<close><\|(?:end|call|return)\|>)")
_HEADER_END = re.compile(r"<\|(?:message|end|call|return|start)\|>")
_RECIPIENT = re.compile(r"\bto=(?!(?:assistant|user)(?:[\s<]|\Z))([^\s<]*+)")
_FUNCTIONS = "functions."
_CHANNEL = re.compile(r"<\|channel\|>\s*+([a-z]*+)")
_IN_HEADER = re.compile(r"\A\s*+(?:<\|start\|>|<\|channel\|>|to=|assistant\b)")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time.

    Text that begins with no header is the body of a message whose header the prompt held: content.
    """
    end = _skip_terminator(text, turn_end(text), len(text))
    content: list[str] = []
    reasoning: list[str] = []
    attempts: list[Attempt] = []
    pos = 0
    if not _IN_HEADER.match(text, 0, end):
        pos = _body_end(text, 0, end)
        content.append(text[:pos])
    while pos < end:
        own_start = len(_START) if text.startswith(_START, pos, end) else 0
        mark = _HEADER_END.search(text, pos + own_start, end)
        stop = mark.start() if mark else end
        header = text[pos:stop]
        recipient = _RECIPIENT.search(header)
        if mark is None or mark[0] != "<|message|>":
            if recipient is not None:
                attempts.append(Attempt(pos, stop, status="malformed" if mark else "unclosed"))
            elif not _IN_HEADER.match(header):
                content.append(header)
            pos = stop if mark is None or mark[0] == _START else mark.end()
            continue
        channel = _CHANNEL.search(header)
        body = mark.end()
        if recipient is not None:
            attempts.append(_read_call(text, pos, recipient[1], body, end))
            pos = attempts[-1].end
            continue
        pos = _body_end(text, body, end)
        is_reasoning = channel is not None and channel[1] == "analysis"
        (reasoning if is_reasoning else content).append(text[body:pos])
        pos = _skip_terminator(text, pos, end)
    return make_turn(text, reasoning, [part + "\n" for part in content], attempts, "harmony")


def _read_call(text: str, start: int, recipient: str, body: int, end: int) -> Attempt:
    name = recipient.removeprefix(_FUNCTIONS) or None
    after, whole = scan_json(text, body, end)
    stop = _body_end(text, after if whole else body, end)
    resume = _skip_terminator(text, stop, end)
    if not whole or text[after:stop].strip():
        wrong: Status = "invalid_json"
        if not recipient.startswith(_FUNCTIONS):
            wrong = "unclosed" if resume == end == stop else "malformed"
        elif not whole:
            wrong = broken(text, body, after, end, _BODY_END).status
        return Attempt(start, resume, name, status=wrong)
    try:
        arguments, status = as_arguments(read_scanned(text[body:after]))
    except InvalidJSON:
        return Attempt(start, resume, name, status="invalid_json")
    if status == "ok" and name is None:
        status = "missing_name"
    return Attempt(start, resume, name, arguments or {}, arguments is not None, status)


def _body_end(text: str, start: int, end: int) -> int:
    mark = _BODY_END.search(text, start, end)
    return mark.start() if mark else end


def _skip_terminator(text: str, pos: int, end: int) -> int:
    mark = _BODY_END.match(text, skip_space(text, pos, end), end)
    return mark.end() if mark and mark.lastgroup == "close" else pos


FORMAT = Format("harmony", ("<|channel|>", "<|message|>"), parse, payload="arguments")
