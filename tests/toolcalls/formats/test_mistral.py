from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls.formats.json_families import calls_with, check_read_back
from tests.toolcalls.formats.json_ways import MISTRAL, MISTRAL_V13
from tests.toolcalls.formats.stock import completion


@given(data=st.data())
def test_what_the_stock_template_writes_is_read_back(real_tokenizer, data):
    calls = data.draw(calls_with(MISTRAL.markers))
    check_read_back(MISTRAL, completion(real_tokenizer("mistral-nemo"), "npm", calls), calls)


@pytest.mark.parametrize(
    ("text", "name", "status"),
    [
        ("[TOOL_CALLS]", None, "unclosed"),
        ("[TOOL_CALLS] nothing here", None, "malformed"),
        ("[TOOL_CALLS]f", "f", "unclosed"),
        ("[TOOL_CALLS]f[ARGS]", "f", "unclosed"),
        ("[TOOL_CALLS]f[CALL_ID]abc", "f", "unclosed"),
        ('[TOOL_CALLS]f[CALL_ID]abc[ARGS]{"x": ', "f", "unclosed"),
        ("[TOOL_CALLS]f[ARGS]x=1", "f", "invalid_json"),
        ("[TOOL_CALLS]f[ARGS][1]", "f", "malformed"),
        ('[TOOL_CALLS]f{"x": 1}', "f", "ok"),
        ('[TOOL_CALLS][ARGS]{"x": 1}', None, "missing_name"),
        ('[TOOL_CALLS][{"name": "f", "arguments": {"x": 1}}', "f", "unclosed"),
        ('[TOOL_CALLS]{"name": "f", "arguments": {"x": 1}}', "f", "ok"),
        ("[TOOL_CALLS][]", None, "malformed"),
    ],
)
def test_each_form_keeps_what_can_be_known(text, name, status):
    (call,) = MISTRAL.parse(text + "</s>").calls
    assert (call.name, call.status) == (name, status)


@pytest.mark.parametrize("opener", ["<think>", "[THINK]"])
def test_both_ways_of_reasoning_are_read(opener):
    closer = f"{opener[0]}/{opener[1:]}"
    call = '[TOOL_CALLS]f[ARGS]{"x": "[/THINK]</think>"}'
    turn = MISTRAL_V13.parse(f"{opener}Is [TOOL_CALLS]f[ARGS]{{}} right?{closer}Yes.{call}</s>")
    assert turn.reasoning == "Is [TOOL_CALLS]f[ARGS]{} right?"
    assert (turn.content, [call.status for call in turn.calls]) == ("Yes.", ["ok"])


def test_text_behind_calls_is_content():
    turn = MISTRAL.parse('[TOOL_CALLS] [{"name": "f", "arguments": {}}] Done.</s>')
    assert (turn.content, [call.status for call in turn.calls]) == ("Done.", ["ok"])
