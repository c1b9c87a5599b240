"""The bad files of traps 9, 10 and 14, generated: one class a function, with its defined outcome.

Each file has a good row before and behind the bad one, so that a test sees whether those survive.
An outcome is the code of the rejected row, a lint finding (the row is accepted), "accepted" (it is
no mistake), or "file" (the file as a whole cannot be read).
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

CALL: dict[str, Any] = {
    "id": "c1",
    "type": "function",
    "function": {"name": "get_time", "arguments": {"city": "Rome"}},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def row(*middle: Any, answer: str = "Half past twelve.", **more: Any) -> dict[str, Any]:
    """A question, `middle` (by default a call and its result), and an answer."""
    steps = middle or (
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "12:30"},
    )
    question = {"role": "user", "content": more.pop("question", "Time in Rome?")}
    messages = [question, *steps, {"role": "assistant", "content": answer}]
    return {"messages": messages, "tools": [TOOL], **more}


GOOD = json.dumps(row()).encode()


class BadFile(NamedTuple):
    """`data` is the bad row's line as it stands in a JSON lines file."""

    data: bytes
    outcome: str


def _text(text: str, outcome: str) -> BadFile:
    return BadFile(text.encode("utf-8", "surrogatepass"), outcome)


def _row(value: Any, outcome: str) -> BadFile:
    return _text(json.dumps(value, ensure_ascii=False), outcome)


def _calls(*calls: Any, results: tuple[Any, ...] = ()) -> dict[str, Any]:
    return row({"role": "assistant", "content": "", "tool_calls": list(calls)}, *results)


def _called(name: str, arguments: Any, call_id: str = "c1") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _result(call_id: str, text: str = "12:30") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


_MARKER = "<|im_start|>assistant"

BAD_FILES: dict[str, BadFile] = {
    # trap 9: bytes and JSON
    "line_separator_inside_text": _row(row(question="One\u2028two\u0085three"), "accepted"),
    "not_a_number": _text(json.dumps(row()).replace('"Rome"', "NaN"), "non_finite_number"),
    "infinity_by_exponent": _text(
        json.dumps(row()).replace('"Rome"', "1e999"), "non_finite_number"
    ),
    "duplicate_keys": _text(
        json.dumps(row()).replace('"city": "Rome"', '"city": "Rome", "city": "Oslo"'),
        "duplicate_key",
    ),
    "lone_surrogate": _text(json.dumps(row()).replace("Time", "\\ud800"), "lone_surrogate"),
    "nul_character": _text(json.dumps(row()).replace("Time", "\\u0000"), "nul_character"),
    "byte_order_mark": BadFile(b"\xef\xbb\xbf" + GOOD, "accepted"),
    "integer_of_5000_digits": _text(
        json.dumps(row()).replace('"Rome"', "1" + "0" * 5000), "number_too_long"
    ),
    "deep_nesting": _text(
        json.dumps(row()).replace('"Rome"', "[" * 20_000 + "]" * 20_000), "too_deep"
    ),
    "not_utf8": BadFile(GOOD.replace(b"Time", b"\xff\xfe"), "not_utf8"),
    "cut_off": BadFile(GOOD[: len(GOOD) // 2], "invalid_json"),
    "row_that_is_a_list": _row([row()], "row_not_an_object"),
    # trap 10: calls and results
    "orphan_result": _row(row(_result("c1")), "orphan_tool_result"),
    "repeated_call_id": _row(_calls(CALL, CALL, results=(_result("c1"),)), "repeated_tool_call_id"),
    "result_given_twice": _row(
        _calls(CALL, results=(_result("c1"), _result("c1"))), "repeated_tool_call_id"
    ),
    "unknown_call_id": _row(_calls(CALL, results=(_result("zz"),)), "unknown_tool_call_id"),
    "call_never_answered": _row(_calls(CALL), "unanswered_call"),
    "results_out_of_order": _row(
        _calls(
            _called("get_time", {"city": "Rome"}, "c1"),
            _called("get_time", {"city": "Oslo"}, "c2"),
            results=(_result("c2"), _result("c1")),
        ),
        "results_out_of_order",
    ),
    "tool_not_in_the_schema": _row(
        _calls(_called("get_date", {}), results=(_result("c1"),)), "undefined_tool"
    ),
    "arguments_outside_the_schema": _row(
        _calls(_called("get_time", {"city": 7}), results=(_result("c1"),)), "wrong_argument_type"
    ),
    # trap 14: control strings, where a template uses them
    "control_string_in_user_text": _row(row(question=f"Hi {_MARKER}"), "control_token_in_text"),
    "control_string_in_a_result": _row(
        _calls(CALL, results=(_result("c1", f"{_MARKER} done"),)), "control_token_in_text"
    ),
    "control_string_in_an_argument": _row(
        _calls(_called("get_time", {"city": _MARKER}), results=(_result("c1"),)),
        "control_token_in_text",
    ),
    "control_string_in_a_schema": _row(
        row(tools=[{"type": "function", "function": {"name": "f", "description": _MARKER}}]),
        "control_token_in_text",
    ),
    "call_marker_in_an_answer": _row(row(answer="</tool_call>"), "control_token_in_text"),
    "reasoning_with_its_own_end": _row(
        row({"role": "assistant", "content": "!", "reasoning_content": "a</think>b"}),
        "control_token_in_text",
    ),
}
