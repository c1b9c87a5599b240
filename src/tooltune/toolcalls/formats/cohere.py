"""Cohere calls. Command R7B, Command A and later write
`<|START_ACTION|>[{"tool_call_id": "0", "tool_name": …, "parameters": {…}}, …]<|END_ACTION|>`,
with reasoning, and the answer, in markers of their own.

Command R and R+ (2024) write `Action: ```json [{"tool_name": …, "parameters": {…}}]``` `, where the
tool `directly-answer` means that nothing is called: its action stays in the content.
https://docs.cohere.com/docs/command-a-hf
https://docs.cohere.com/docs/prompting-command-r#multi-step-tool-use-agents
"""

from __future__ import annotations

import re

from tooltune.toolcalls.json_text import InvalidJSON, read_scanned
from tooltune.toolcalls.marked import Marks, read_calls, without_wrappers
from tooltune.toolcalls.payload import as_call
from tooltune.toolcalls.scan import NO_SCHEMAS, Attempt, Format, Reading, Schemas, scan_turn
from tooltune.toolcalls.types import ParsedTurn

_THINK = ("<|START_THINKING|>", "<|END_THINKING|>")
_TAG = "<|START_ACTION|>"
_WORD = re.compile(r"\bAction:\s*+```(?:json)?")
_OPEN = rf"{re.escape(_TAG)}|{_WORD.pattern}"
_NEXT = rf"{re.escape(_TAG)}|\bAction:|<\|END_THINKING\|>"
_TAGGED = Marks(
    close=re.compile(r"\s*+<\|END_ACTION\|>"),
    marks=re.compile(rf"{_NEXT}|(?P<close><\|END_ACTION\|>)"),
)
_FENCED = Marks(close=re.compile(r"\s*+```"), marks=re.compile(rf"{_NEXT}|(?P<close>```)"))
_WRAPPERS = re.compile(r"<\|(?:START|END)_(?:RESPONSE|TEXT)\|>")
_NO_CALL = ("directly-answer", "directly_answer")


def parse(text: str, schemas: Schemas = NO_SCHEMAS) -> ParsedTurn:
    """Take a turn apart. Never raises; linear time.

    A tool of the caller's own that bears the name of `directly-answer` is called as any other.
    """

    def read(text: str, start: int, end: int) -> Reading:
        if text.startswith(_TAG, start, end):
            return read_calls(text, start, start + len(_TAG), end, _TAGGED, _as_action)
        word = _WORD.match(text, start, end)
        body = word.end() if word else start
        reading = read_calls(text, start, body, end, _FENCED, _as_action)
        calls = [it for it in reading.attempts if it.name not in _NO_CALL or it.name in schemas]
        return Reading(calls, reading.end)

    turn = scan_turn(text, _OPEN, read, "cohere", think=_THINK)
    return without_wrappers(turn, _WRAPPERS)


def _as_action(text: str, start: int, end: int) -> Attempt:
    try:
        value = read_scanned(text[start:end])
    except InvalidJSON:
        return Attempt(start, end, status="invalid_json")
    if isinstance(value, dict):
        value = {"name": value.get("tool_name"), "parameters": value.get("parameters", {})}
    return as_call(value, start, end)


FORMAT = Format("cohere", (_TAG, "Action:"), parse, name_key="tool_name")
