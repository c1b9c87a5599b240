from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.toolcalls.families import tools_for
from tests.toolcalls.formats.markup_turns import completion
from tests.toolcalls.markup_families import FAMILIES, calls_for
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.parse import parse_turn

BLOCK = '<atem:function_calls>\n<atem:invoke name="f">\n</atem:invoke>\n</atem:function_calls>'


@settings(max_examples=40, deadline=None)
@given(calls=calls_for(FAMILIES["atem"]))
def test_what_the_stock_template_writes_parses_back(calls):
    text = completion("muse_glimmer", calls, reasoning="Which one?")
    turn = parse_turn(text, "atem", tools_for(calls))
    assert (turn.content, turn.reasoning) == ("", "Which one?")
    assert [(call.name, call.status) for call in turn.calls] == [(name, "ok") for name, _ in calls]
    for call, (_, arguments) in zip(turn.calls, calls, strict=True):
        assert json_equal(call.arguments, arguments)


def test_messages_become_reasoning_content_and_calls():
    turn = parse_turn(
        " to=self<|message|>Think <atem:function_calls>.<|eom|>"
        "<|start|>assistant to=user<|message|>Let me look.<|eom|>"
        f"<|start|>assistant to=f<|message|>{BLOCK}<|eot|>",
        "atem",
    )
    assert (turn.reasoning, turn.content) == ("Think <atem:function_calls>.", "Let me look.")
    assert [(call.name, call.status) for call in turn.calls] == [("f", "ok")]


def test_a_call_spoken_of_to_the_user_is_content():
    turn = parse_turn(f" to=user<|message|>Write {BLOCK}.<|eot|>", "atem")
    assert (turn.calls, turn.content) == ((), f"Write {BLOCK}.")


@pytest.mark.parametrize(
    ("text", "names", "statuses"),
    [
        (f" to=f<|message|>{BLOCK}{BLOCK}<|eot|>", ["f", "f"], ["ok", "ok"]),
        (f"<|message|>{BLOCK}", ["f"], ["ok"]),
        (BLOCK, ["f"], ["ok"]),
        (" to=f<|message|>Now.<|eom|>", ["f"], ["malformed"]),
        (" to=f<|message|>", ["f"], ["unclosed"]),
        (" to=f", ["f"], ["unclosed"]),
        (" to=user", [], []),
        (f" to=f<|message|>{BLOCK[:-5]}", ["f"], ["unclosed"]),
        (
            f" to=f<|message|>{BLOCK[:40]}<|eom|><|start|>assistant to=f<|message|>{BLOCK}",
            [None, "f"],
            ["malformed", "ok"],
        ),
        ("<|start|><|start|>", [], []),
    ],
)
def test_each_departure_from_the_template_has_its_status(text, names, statuses):
    calls = parse_turn(text, "atem").calls
    assert [call.name for call in calls] == names
    assert [call.status for call in calls] == statuses
