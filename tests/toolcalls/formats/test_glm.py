from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.toolcalls.families import tools_for
from tests.toolcalls.formats.markup_turns import completion
from tests.toolcalls.markup_families import FAMILIES, calls_for
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.parse import parse_turn

PAIR = "<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n"


@settings(max_examples=40, deadline=None)
@given(calls=calls_for(FAMILIES["glm"]))
def test_what_the_stock_template_writes_parses_back(calls):
    text = completion("glm4moe", calls, content="Let me look.", reasoning="Which one?")
    turn = parse_turn(text, "glm", tools_for(calls))
    assert (turn.content, turn.reasoning) == ("Let me look.", "Which one?")
    assert [(call.name, call.status) for call in turn.calls] == [(name, "ok") for name, _ in calls]
    for call, (_, arguments) in zip(turn.calls, calls, strict=True):
        assert json_equal(call.arguments, arguments)


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (f"<tool_call>f\n{PAIR}</tool_call>", ["ok"]),
        (f"<tool_call>\nf\n{PAIR}</tool_call>", ["ok"]),
        ("<tool_call>f</tool_call><tool_call>f\n</tool_call>", ["ok", "ok"]),
        (f"<tool_call>f\n{PAIR}<|observation|>", ["unclosed"]),
        (f"<tool_call>f\n{PAIR}<tool_call>f\n{PAIR}</tool_call>", ["unclosed", "ok"]),
        (f"<tool_call>{PAIR}</tool_call>", ["missing_name"]),
        ("<tool_call></tool_call>", ["malformed"]),
        ('<tool_call>{"name": "f", "arguments": {}}</tool_call>', ["malformed"]),
        ('<tool_call>[{"name": "f"}]</tool_call>', ["malformed"]),
        ('<tool_call>f\n{"x": 1}</tool_call>', ["malformed"]),
        ("<tool_call>f\n<arg_key>x</arg_key>\n</tool_call>", ["malformed"]),
        ("<tool_call>f\n<arg_key>x</arg_key>\n", ["unclosed"]),
        ("<tool_call>\n<function=f>\n</function>\n</tool_call>", ["malformed"]),
    ],
)
def test_each_departure_from_the_template_has_its_status(text, statuses):
    assert [call.status for call in parse_turn(text, "glm").calls] == statuses


def test_words_of_python_are_strings_in_a_family_that_writes_json():
    text = "<tool_call>f<arg_key>x</arg_key><arg_value>True</arg_value></tool_call>"
    (call,) = parse_turn(text, "glm").calls
    assert call.arguments == {"x": "True"}
