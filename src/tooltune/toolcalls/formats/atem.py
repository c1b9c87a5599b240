"""ATEM calls (Muse Glimmer): messages with a recipient, and marks around a call's values,
`to=NAME<|message|><atem:function_calls><atem:invoke name="NAME"><atem:parameter name="k">v…`.

What is said `to=self` is reasoning, `to=user` content; a turn is one message after another, parted
by `<|eom|>`. Strings stand as they are, lists and objects as JSON.
https://huggingface.co/meta-models/Muse-Glimmer-30B/blob/main/chat_template.jinja
"""

from __future__ import annotations

import re

from tooltune.toolcalls.markup import Marks, Reader
from tooltune.toolcalls.scan import (
    NO_SCHEMAS,
    Attempt,
    Format,
    Schemas,
    make_turn,
    turn_end,
)
from tooltune.toolcalls.types import ParsedTurn

_READER = Reader(
    Marks(
        opener="<atem:function_calls>",
        call=r'<atem:invoke name="(?P<name>[^"<\n]*+)">',
        call_end="</atem:invoke>",
        parameter=r'<atem:parameter name="(?P<key>[^"<\n]*+)">',
        parameter_end="</atem:parameter>",
        block_end="</atem:function_calls>",
    )
)
_START = "<|start|>"
_HEADER = re.compile(
    r"\s*+(?:(?:<\|start\|>)?+assistant\b)?+\s*+(?:to=(?P<to>[^\s<]*+))?+\s*+<\|message\|>"
)
_CUT_HEADER = re.compile(r"\s*+(?:(?:<\|start\|>)?+assistant\b)?+\s*+to=(?P<to>[^\s<]*+)\s*+\Z")
_MESSAGE_END = re.compile(r"<\|(?:eom|eot|start)\|>")
_CALLS_OR_END = re.compile(rf"(?P<calls>{_READER.opener})|{_MESSAGE_END.pattern}")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time.

    Text that begins with no header is the body of a message whose header the prompt held.
    """
    end = turn_end(text)
    content: list[str] = []
    reasoning: list[str] = []
    attempts: list[Attempt] = []
    pos = 0
    while pos < end:
        start, header = pos, _HEADER.match(text, pos, end)
        if header is None and (cut := _CUT_HEADER.match(text, pos, end)):
            if cut["to"] not in ("self", "user"):
                attempts.append(Attempt(pos, end, cut["to"] or None, status="unclosed"))
            break
        recipient = header["to"] if header else None
        pos = header.end() if header else pos + len(_START) * text.startswith(_START, pos, end)
        if recipient not in ("self", "user"):
            found, said, pos = _read_calls(text, pos, end, schemas)
            if recipient and not found:
                found, pos = [_no_calls(text, pos, end, recipient)], _message_end(text, pos, end)
            if found:
                found[0] = found[0]._replace(start=start)
            attempts += found
            content += said
        stop = _MESSAGE_END.search(text, pos, end)
        body_end = stop.start() if stop else end
        (reasoning if recipient == "self" else content).append(text[pos:body_end] + "\n")
        pos = stop.end() if stop and stop[0] != _START else body_end
    return make_turn(text, reasoning, content, attempts, "atem")


def _read_calls(
    text: str, start: int, end: int, schemas: Schemas
) -> tuple[list[Attempt], list[str], int]:
    """The calls in a message's body, the text before each, and the index behind them."""
    attempts: list[Attempt] = []
    said: list[str] = []
    pos = start
    while (mark := _CALLS_OR_END.search(text, pos, end)) and mark["calls"]:
        found, resume = _READER.read(text, mark.start(), end, schemas)
        if found[-1].status != "ok":  # what broke off does not go on in the next message
            resume = _message_end(text, mark.end(), resume)
            found = [
                attempt._replace(end=min(attempt.end, resume))
                for attempt in found
                if attempt.start < resume
            ]
        if len(found) == 1:
            found = [found[0]._replace(start=mark.start(), end=resume)]
        attempts += found
        said.append(text[pos : mark.start()])
        pos = resume
    return attempts, said, pos


def _no_calls(text: str, start: int, end: int, recipient: str) -> Attempt:
    """What a message to a tool is that holds no call."""
    stop = _message_end(text, start, end)
    is_cut = stop == end and text[start : start + 1] in ("", "<")
    return Attempt(start, stop, recipient, status="unclosed" if is_cut else "malformed")


def _message_end(text: str, start: int, end: int) -> int:
    mark = _MESSAGE_END.search(text, start, end)
    return mark.start() if mark else end


FORMAT = Format("atem", ("<atem:function_calls>", "<atem:invoke name="), parse, payload=None)
