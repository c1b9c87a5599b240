from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls.formats.json_families import calls_with, check_read_back
from tests.toolcalls.formats.json_ways import DEEPSEEK_BEGIN as BEGIN
from tests.toolcalls.formats.json_ways import DEEPSEEK_CALL as CALL
from tests.toolcalls.formats.json_ways import DEEPSEEK_CALL_END as CALL_END
from tests.toolcalls.formats.json_ways import DEEPSEEK_END as END
from tests.toolcalls.formats.json_ways import DEEPSEEK_SEP as SEP
from tests.toolcalls.formats.json_ways import (
    DEEPSEEK_V3,
    DEEPSEEK_V3_1,
    write_deepseek_v3,
    write_deepseek_v3_1,
)
from tests.toolcalls.formats.stock import completion


@given(data=st.data())
def test_what_the_stock_template_writes_is_read_back(real_tokenizer, data):
    calls = data.draw(calls_with(DEEPSEEK_V3.markers))
    as_strings = [(name, json.dumps(arguments)) for name, arguments in calls]
    text = completion(real_tokenizer("deepseek-v3"), "deepseekv3", as_strings)
    assert text.startswith("<｜Assistant｜>")
    check_read_back(DEEPSEEK_V3, text.removeprefix("<｜Assistant｜>"), calls)


@given(calls=calls_with(DEEPSEEK_V3.markers), ascii_only=st.booleans())
def test_each_version_reads_the_other_s_calls(calls, ascii_only):
    check_read_back(DEEPSEEK_V3, write_deepseek_v3_1(calls, ascii_only), calls)
    check_read_back(DEEPSEEK_V3_1, write_deepseek_v3(calls, ascii_only), calls)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (f'function{SEP}f\n{{"x": 1}}\n{CALL_END}', "ok"),
        (f'function{SEP}f\n```\n{{"x": 1}}\n```\n{CALL_END}', "ok"),
        (f'f{SEP}```json\n{{"x": 1}}```{CALL_END}', "ok"),
        (f'f{SEP}{{"x": 1}}\n{CALL_END}', "ok"),
        (f'f{SEP}{{"x": 1}} x{CALL_END}', "invalid_json"),
        (f'f{SEP}{{"x": 1}}', "unclosed"),
        (f'function{SEP}f\n```json\n{{"x": 1}}\n```', "unclosed"),
        (f"function{SEP}f", "unclosed"),
        (f"function{SEP}", "unclosed"),
        ("function", "unclosed"),
        (f'f{{"x": 1}}{CALL_END}', "malformed"),
        ("", "unclosed"),
    ],
)
@pytest.mark.parametrize("family", [DEEPSEEK_V3, DEEPSEEK_V3_1])
def test_variants_and_broken_calls_are_one_attempt_each(family, body, status):
    turn = family.parse(f"Hm.{BEGIN}{CALL}{body}")
    assert ([call.status for call in turn.calls], turn.content) == ([status], "Hm.")
    if status == "ok":
        assert (turn.calls[0].name, turn.calls[0].arguments) == ("f", {"x": 1})


def test_an_empty_section_is_an_attempt():
    assert DEEPSEEK_V3.statuses(f"{BEGIN}{END}") == ["malformed"]
    assert DEEPSEEK_V3.statuses(BEGIN) == ["unclosed"]
