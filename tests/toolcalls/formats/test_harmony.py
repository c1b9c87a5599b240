from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls.formats.json_families import calls_with, check_read_back
from tests.toolcalls.formats.json_ways import HARMONY, HARMONY_ANALYSIS
from tests.toolcalls.formats.stock import completion


@given(data=st.data())
def test_what_the_stock_template_writes_is_read_back(real_tokenizer, data):
    calls = data.draw(calls_with(HARMONY.markers))[:1]  # it writes only the first
    text = completion(real_tokenizer("gpt-oss"), "gptoss", calls)
    check_read_back(HARMONY, text.removeprefix("<|start|>assistant"), calls)


def test_a_recipient_makes_a_call_of_a_message_in_the_analysis_channel():
    turn = HARMONY_ANALYSIS.parse(
        "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant"
        '<|channel|>analysis to=functions.f code<|message|>{"x": 1}<|call|>'
    )
    assert turn.reasoning == "Look."
    assert [(c.name, c.arguments, c.status) for c in turn.calls] == [("f", {"x": 1}, "ok")]


def test_a_call_spoken_of_in_the_analysis_is_prose():
    turn = HARMONY.parse(
        '<|channel|>analysis<|message|>Call to=functions.f with {"x": 1}?<|end|>'
        "<|start|>assistant<|channel|>final<|message|>No.<|return|>"
    )
    assert (turn.calls, turn.content) == ((), "No.")
    assert turn.reasoning == 'Call to=functions.f with {"x": 1}?'


@pytest.mark.parametrize(
    ("header", "body", "name", "status"),
    [
        ("analysis to=browser.search code", '{"query": "x"}<|call|>', "browser.search", "ok"),
        ("analysis to=python code", "import os\nprint({})<|call|>", "python", "malformed"),
        ("analysis to=python code", '{"x": 1} | {}<|call|>', "python", "malformed"),
        ("analysis to=python code", "2<|call|>", "python", "malformed"),
        ("analysis to=python code", "import o", "python", "unclosed"),
        ("commentary to=functions.f", "import os<|call|>", "f", "invalid_json"),
        ("commentary to=functions.f", '{"x": 1<|call|>', "f", "invalid_json"),
        ("commentary to=functions.f", '{"x": 1', "f", "unclosed"),
        ("commentary to=functions.f", "<|call|>", "f", "invalid_json"),
        ("commentary to=functions.f", '{"x": 1}', "f", "ok"),
        ("commentary to=functions.f<|constrain|>json", '{"x": 1}<|call|>', "f", "ok"),
        ("commentary to=functions.a.b json", '{"x": 1}<|call|>', "a.b", "ok"),
    ],
)
def test_built_in_tools_and_broken_bodies(header, body, name, status):
    (call,) = HARMONY.parse(f"<|channel|>{header}<|message|>{body}").calls
    assert (call.name, call.status) == (name, status)


def test_the_span_of_a_call_holds_its_closer():
    text = '<|channel|>commentary to=functions.f<|message|>{"x": 1}<|call|>'
    (call,) = HARMONY.parse(text).calls
    assert call.raw == text


def test_a_tool_result_that_the_model_made_up_is_content_and_no_call():
    turn = HARMONY.parse(
        "<|channel|>commentary to=functions.f<|message|>{}<|call|>"
        "<|start|>functions.f to=assistant<|channel|>commentary<|message|>sunny<|end|>"
    )
    assert ([call.name for call in turn.calls], turn.content) == (["f"], "sunny")


def test_a_header_that_breaks_off_is_an_attempt_where_it_names_a_recipient():
    assert HARMONY.statuses("<|channel|>commentary to=functions.f") == ["unclosed"]
    assert HARMONY.statuses("<|channel|>commentary to=functions.f<|call|>") == ["malformed"]
    assert HARMONY.statuses("<|channel|>commentary") == []
