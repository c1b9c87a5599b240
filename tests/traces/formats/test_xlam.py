from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.formats.same import assert_same
from tests.traces.strategies import NAMES, TEXT, json_objects
from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, read_row

FLAT = {
    "name": "forecast",
    "description": "The weather to come.",
    "parameters": {
        "city": {"description": "Town.", "type": "str", "default": "Bern"},
        "days": {"description": "How many.", "type": "int, optional"},
        "hours": {"type": "List[int]"},
    },
}
ROW = {
    "id": 3,
    "query": "Rain in Basel and Chur?",
    "tools": json.dumps([FLAT]),
    "answers": json.dumps(
        [
            {"name": "forecast", "arguments": {"hours": [9, 12], "city": "Basel"}},
            {"name": "forecast", "arguments": {"hours": [], "city": "Chur", "days": 2}},
        ]
    ),
}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"description": "Town.", "type": "string", "default": "Bern"},
        "days": {"description": "How many.", "type": "integer"},
        "hours": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["hours"],
}


def test_a_row_is_one_question_and_parallel_calls() -> None:
    calls = (
        ToolCall("forecast", {"hours": [9, 12], "city": "Basel"}),
        ToolCall("forecast", {"hours": [], "city": "Chur", "days": 2}),
    )
    expected = Trace(
        (Message("user", "Rain in Basel and Chur?"), Message("assistant", tool_calls=calls)),
        (Tool({**FLAT, "parameters": SCHEMA}),),
    )
    assert_same(read_row(ROW), expected)


@given(
    TEXT,
    st.lists(st.builds(ToolCall, NAMES, json_objects()), min_size=1, max_size=3),
    st.booleans(),
)
def test_what_is_written_as_xlam_is_read_back(
    query: str, calls: list[ToolCall], text: bool
) -> None:
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "null"}}}}
    tools: Any = [tool]
    answers: Any = [call.to_openai()["function"] for call in calls]
    if text:
        tools, answers = json.dumps(tools), json.dumps(answers)
    trace = read_row({"query": query, "tools": tools, "answers": answers}, "xlam")
    messages = (Message("user", query), Message("assistant", tool_calls=tuple(calls)))
    assert_same(trace, Trace(messages, (Tool(tool),)))


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"answers": "[]"}, "nothing_to_call", "answers is empty"),
        ({"answers": []}, "nothing_to_call", "answers is empty"),
        ({"answers": None}, "nothing_to_call", "answers is empty"),
        ({"answers": '[{"name": "f"'}, "invalid_json", "answers"),
        ({"answers": '[{"name": "f", "arguments": 3}]'}, "arguments_not_an_object", "answers[0]"),
        ({"answers": '["f"]'}, "invalid_json", "answers[0]"),
        ({"tools": "[{]"}, "invalid_json", "tools"),
        ({"tools": '{"name": "f"}'}, "tools_not_a_list", "tools"),
        (
            {"tools": '[{"name": "f", "parameters": {"x": 1}}]'},
            "parameter_not_an_object",
            "tools[0].parameters.'x'",
        ),
        ({"query": None}, "field_not_text", "query"),
    ],
)
def test_a_broken_row_is_refused_with_its_place(
    change: dict[str, Any], code: str, place: str
) -> None:
    with pytest.raises(RowError) as caught:
        read_row({**ROW, **change}, "xlam")
    assert caught.value.code == code
    assert place in caught.value.reason
