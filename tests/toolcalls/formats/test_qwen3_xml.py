from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolcalls.families import tools_for
from tests.toolcalls.formats.markup_turns import completion
from tests.toolcalls.markup_families import FAMILIES, calls_for
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.parse import parse_turn

FAMILY = FAMILIES["qwen3_xml"]
TEMPLATES = [
    "qwen3_5_nothink",
    "qwen3_5_think",
    "qwen3_6",
    "qwen3_8",
    "nemotron_3_nano-enable_thinking=false",
    "nemotron_3_ultra-enable_thinking=false",
]


@pytest.mark.parametrize("key", TEMPLATES)
@settings(max_examples=25, deadline=None)
@given(calls=calls_for(FAMILY))
def test_what_the_stock_templates_write_parses_back(key, calls):
    thinks = "nothink" not in key and "=false" not in key
    text = completion(key, calls, reasoning="Hm." if thinks else None)
    turn = parse_turn(text, "qwen3_xml", tools_for(calls))
    assert [(call.name, call.status) for call in turn.calls] == [(name, "ok") for name, _ in calls]
    for call, (_, arguments) in zip(turn.calls, calls, strict=True):
        assert json_equal(call.arguments, arguments)


def test_text_and_reasoning_stand_beside_the_calls_of_a_stock_template():
    calls = [("f", {"city": "Zürich", "exact": True}), ("f", {"city": "5", "exact": False})]
    text = completion("qwen3_5_think", calls, content="Let me look.", reasoning="Which city?")
    turn = parse_turn(text, "qwen3_xml", tools_for(calls[:1]))
    assert (turn.content, turn.reasoning) == ("Let me look.", "Which city?")
    assert [call.arguments for call in turn.calls] == [arguments for _, arguments in calls]


CALL = "<function=f>\n<parameter=x>\n1\n</parameter>\n</function>"


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (f"Well. {CALL}\n</tool_call>", ["ok"]),
        (CALL, ["ok"]),
        (f"{CALL}\n{CALL}", ["ok", "ok"]),
        (f"<tool_call>\n{CALL}\n{CALL}\n</tool_call>", ["ok", "ok"]),
        (f"<tool_call>\n{CALL}", ["unclosed"]),
        (f"<tool_call>\n{CALL}\n<tool_call>\n{CALL}\n</tool_call>", ["unclosed", "ok"]),
        (f"<tool_call>\n{CALL} and so\n</tool_call>", ["malformed"]),
        ("<tool_call>\n<function=f>\n</tool_call>", ["malformed"]),
        ("<tool_call>\n<function=f>\n</function>\n</tool_call>", ["ok"]),
        ("<tool_call>\n<function=>\n</function>\n</tool_call>", ["missing_name"]),
        ('<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', ["malformed"]),
        ("<tool_call></tool_call>", ["malformed"]),
        ("The mark <function=f> opens a call.", []),
        ("<function=f>\n<par", ["unclosed"]),
    ],
)
def test_each_departure_from_the_template_has_its_status(text, statuses):
    turn = parse_turn(text, "qwen3_xml")
    assert [call.status for call in turn.calls] == statuses


def test_a_value_without_its_line_breaks_is_read_all_the_same():
    text = "<tool_call><function=f><parameter=x>a</parameter><parameter=y> b</parameter></function>"
    (call,) = parse_turn(f"{text}</tool_call>", "qwen3_xml").calls
    assert (call.status, call.arguments) == ("ok", {"x": "a", "y": " b"})


@given(st.sampled_from(["True", "False", "None"]), st.booleans())
def test_words_of_python_are_values_unless_the_schema_says_string(word, is_string):
    tool = {"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}
    text = (
        f"<tool_call>\n<function=f>\n<parameter=x>\n{word}\n</parameter>\n</function>\n</tool_call>"
    )
    (call,) = parse_turn(text, "qwen3_xml", [tool] if is_string else None).calls
    assert str(call.arguments["x"]) == word
    assert isinstance(call.arguments["x"], str) == is_string
