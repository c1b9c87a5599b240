"""The walk over a generated turn that all marker families share.

Reasoning and calls are found in one pass from left to right: a marker inside a think block is
prose, and `</think>` inside a call's JSON string is data. Which comes first decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from tooltune.toolcalls.types import ParsedToolCall, ParsedTurn, Status

Schemas: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The JSON schema of each tool's arguments, by tool name."""

NO_SCHEMAS: Schemas = MappingProxyType({})
THINK = ("<think>", "</think>")
CONTROL_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eom|>",
    "[e~[",
    "<|end|>",
    "<|call|>",
    "<|return|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<turn|>",
    "<|tool_response>",
    "<start_function_response>",
    "<|eot|>",
    "<eos>",
    "</s>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "<｜▁pad▁｜>",
    "<SPECIAL_12>",
    "[EOS]",
    "[PAD]",
    "<EOS_TOKEN>",
    "<PAD>",
    "<|finetune_right_pad_id|>",
    "<|user|>",
    "<|observation|>",
    "<pad>",
    "<|pad|>",
)
"""What may stand behind a turn: stop and padding tokens of the families (GLM stops at a role)."""


class Attempt(NamedTuple):
    """One attempt at a call: what it says and where it stands in the text."""

    start: int
    end: int
    name: str | None = None
    arguments: dict[str, Any] = {}  # noqa: RUF012  (a tuple field: never written to)
    valid_json: bool = False
    status: Status = "malformed"


class Reading(NamedTuple):
    """What a family read at one opener: its attempts, and the index where reading goes on.

    Without attempts the text was prose and stays in the content.
    """

    attempts: Sequence[Attempt]
    end: int


class Format(NamedTuple):
    """A call syntax: `markers` are strings one of which every text with a call contains.

    `parse(text, schemas)` takes a turn apart; syntaxes that write values without their types
    (XML) type them by the schema of the tool that is called, and others need none. `payload` is
    what the JSON object in an attempt is: the whole `call`, its `arguments`, or None where a
    call is not written in JSON. `name_key` is where a whole call has its name.
    """

    name: str
    markers: tuple[str, ...]
    parse: Callable[[str, Schemas], ParsedTurn]
    payload: Literal["call", "arguments"] | None = "call"
    name_key: str = "name"


def scan_turn(
    text: str,
    opener: str,
    read: Callable[[str, int, int], Reading],
    name: str,
    think: tuple[str, str] = THINK,
) -> ParsedTurn:
    """Take a turn apart, in time linear in `text` as long as `read` moves on by what it reads.

    `opener` is a regular expression that matches where a call may begin; `read(text, start, end)`
    reads from there and never past `end`, where trailing control tokens begin.

    `think` is what opens and closes reasoning, `<think>` and `</think>` with most. Reasoning is
    what stands between; everything up to a closer that was never opened (the prompt ended inside
    the block); everything after an opener that is never closed.
    """
    think_end = think[1]
    marks = re.compile(rf"({re.escape(think[0])})|({re.escape(think_end)})|{opener}")
    end = turn_end(text)
    content: list[str] = []
    reasoning: list[str] = []
    attempts: list[Attempt] = []
    pos = 0
    while mark := marks.search(text, pos, end):
        start = mark.start()
        if mark[1]:
            close = text.find(think_end, mark.end(), end)
            stop, resume = (end, end) if close < 0 else (close, close + len(think_end))
            content.append(text[pos:start])
            reasoning.append(text[mark.end() : stop])
        elif mark[2]:
            resume = mark.end()
            if reasoning:
                content.append(text[pos:resume])
            else:
                reasoning.append(text[:start])
                content.clear()
                attempts.clear()
        else:
            found, resume = read(text, start, end)
            content.append(text[pos : start if found else resume])
            if len(found) == 1 and (found[0].start, found[0].end) != (start, resume):
                attempts.append(Attempt(start, resume, *found[0][2:]))
            else:
                attempts.extend(found)
        pos = resume
    content.append(text[pos:end])
    return make_turn(text, reasoning, content, attempts, name)


def make_turn(
    text: str,
    reasoning: Sequence[str],
    content: Sequence[str],
    attempts: Sequence[Attempt],
    name: str,
) -> ParsedTurn:
    """Put the pieces of a turn together; blank reasoning is none."""
    calls = tuple(
        ParsedToolCall(name, arguments or {}, valid_json, text[start:end], status, (start, end))
        for start, end, name, arguments, valid_json, status in attempts
    )
    thoughts = "\n".join(part.strip() for part in reasoning).strip()
    return ParsedTurn(thoughts or None, "".join(content).strip(), calls, name)


def text_outside_calls(text: str, turn: ParsedTurn) -> str:
    """`text` without the calls that `turn` has: where markers mean something."""
    edges = [0, *(edge for call in turn.calls for edge in call.span), len(text)]
    return "".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))


def turn_end(text: str) -> int:
    """The index where trailing control tokens and white space begin."""
    end = len(text)
    while end:
        if text[end - 1].isspace():
            end -= 1
            continue
        for token in CONTROL_TOKENS:
            if text.endswith(token, 0, end):
                end -= len(token)
                break
        else:
            break
    return end
