from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.formats.json_families import calls_with, check_read_back
from tests.toolcalls.formats.json_ways import LLAMA3, LLAMA3_BARE, objects
from tests.toolcalls.formats.stock import completion


@given(data=st.data())
def test_what_the_stock_template_writes_is_read_back(real_tokenizer, data):
    calls = data.draw(calls_with(LLAMA3.markers))[:1]  # it writes one
    text = completion(real_tokenizer("llama-3.1"), "llama3_1", calls)
    _, header, turn = text.partition("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert header
    check_read_back(LLAMA3, turn, calls)


@given(data=st.data())
def test_what_the_stock_template_writes_for_built_in_tools_is_read_back(real_tokenizer, data):
    keys = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
    plain = st.text(st.sampled_from("ab (),=;.{}ü"), max_size=12)  # it escapes no string
    call = ("brave_search", data.draw(st.dictionaries(keys, plain, max_size=3)))
    tokenizer = real_tokenizer("llama-3.1")
    text = completion(tokenizer, "llama3_1", [call], builtin_tools=["brave_search"])
    turn = text.partition("<|start_header_id|>assistant<|end_header_id|>\n\n")[2]
    check_read_back(LLAMA3, turn, [call])


@pytest.mark.parametrize("separator", ["; ", ";\n", "\n", " "])
@pytest.mark.parametrize("tag", ["<|python_tag|>", ""])
@pytest.mark.parametrize("end", ["", ";"])
@given(calls=families.calls)
def test_several_calls_stand_behind_one_tag_or_none(separator, tag, end, calls):
    text = tag + separator.join(objects(calls, False, "parameters")) + end + "<|eot_id|>"
    check_read_back(LLAMA3, text, calls)


def test_built_in_calls_stand_beside_each_other_and_json():
    good = json.dumps({"name": "f", "parameters": {"x": 1}})
    turn = LLAMA3.parse(f'<|python_tag|>a.call(q="(;)"); {good}; b.call()<|eom_id|>')
    assert [(call.name, call.arguments, call.status) for call in turn.calls] == [
        ("a", {"q": "(;)"}, "ok"),
        ("f", {"x": 1}, "ok"),
        ("b", {}, "ok"),
    ]
    assert turn.content == ""


def test_code_behind_the_tag_is_an_attempt_without_a_name():
    (call,) = LLAMA3.parse("<|python_tag|>import os<|eom_id|>").calls
    assert (call.name, call.status, call.raw) == (None, "malformed", "<|python_tag|>import os")


def test_the_raw_text_of_a_broken_built_in_call_holds_its_name():
    (call,) = LLAMA3.parse('<|python_tag|>a.call(q="x').calls
    assert (call.name, call.status) == ("a", "unclosed")
    assert call.raw == '<|python_tag|>a.call(q="x'


def test_bare_calls_keep_the_text_around_them():
    good = LLAMA3_BARE.write([("f", {})], False)
    turn = LLAMA3.parse(f"Well: {good}; {good} Done; really.")
    assert turn.content.split() == ["Well:", "Done;", "really."]
