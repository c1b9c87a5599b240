from __future__ import annotations

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls import families
from tooltune.toolcalls import python_calls
from tooltune.toolcalls.json_text import MAX_DEPTH, json_equal
from tooltune.toolcalls.python_calls import Style, read_calls
from tooltune.toolcalls.python_text import is_partial, read_value

STYLE = Style(re.compile("<end>"), "<end>")
_WORDS = 'f( g( a= b= é= 1a= 0 7 -12 07 1.5 1234567890123456 True "x" "é" "\t" "a\\n" [1] {"k":1}'
_PIECES = [*"[](),=;'\"\\ \n", *_WORDS.split(" "), "a b=", '"x y", ', "'it's'"]


@given(families.values, st.sampled_from(["", " ", ")", ", 1", "]"]))
def test_what_python_prints_is_read_back_to_its_end(value, behind):
    written = repr(value)
    read = read_value(written + behind, 0, len(written + behind))
    assert (read.whole, read.sound, read.end) == (True, True, len(written))
    assert json_equal(read.value, value)


@pytest.mark.parametrize(
    "literal",
    [
        r"'a\'b\"c\\d\n\t\x41\u00e9\U0001F600\101\a'",
        r"r'a\n'",
        "u'x'",
        "R'''a'b''c'''",
        '"""a\n"b""c"""',
        "'a\\\nb'",
        "''",
        '""""""',
        "f'x'",
        "1_000",
        "0x1F",
        "-0b101",
        "+.5",
        "1.",
        "1e-7",
        "-12345678901234567890",
        "(1,)",
        "(1)",
        "()",
        "((), [], {},)",
        "{'a': (True, None), 'b': {}, }",
    ],
)
def test_literals_are_read_as_python_reads_them(literal):
    read = read_value(literal, 0, len(literal))
    expected = ast.literal_eval(literal) if literal != "f'x'" else "x"
    assert (read.whole, read.sound, read.end) == (True, True, len(literal))
    assert json_equal(read.value, expected)


def test_json_s_words_and_surrogate_pairs_are_read_too():
    text = '{"a": [true, false, null], "b": "\\ud83d\\ude00"}'
    assert read_value(text, 0, len(text)).value == {"a": [True, False, None], "b": "😀"}


@pytest.mark.parametrize(
    "literal",
    [
        *["nan", "-inf", "Infinity", "1e999", "x", "b'x'", "f'{x}'", "'\\ud800'", "'\\xg'", "007"],
        *["{1: 2}", "{None: 2}", "{'a': 1, 'a': 2}", "9" * 4400, "0x" + "f" * 4000, "[nan]", "a.b"],
    ],
)
def test_what_json_has_no_value_for_has_an_extent_and_is_not_sound(literal):
    read = read_value(literal, 0, len(literal))
    assert (read.whole, read.sound, read.end) == (True, False, len(literal))


@pytest.mark.parametrize("literal", ["{1, 2}", "[,]", "[1 2]", "{'a' 1}", "*x", "", "]", "(1]"])
def test_what_is_no_literal_breaks(literal):
    assert not read_value(literal, 0, len(literal)).whole


def test_nesting_is_read_to_the_documented_depth_and_no_further():
    for depth in (MAX_DEPTH, MAX_DEPTH + 1):
        text = "[" * depth + "]" * depth
        assert read_value(text, 0, len(text)).whole is (depth == MAX_DEPTH)


@given(families.values)
def test_every_beginning_of_a_value_counts_as_cut_off(value):
    text = repr([value])
    for cut in range(len(text)):
        read = read_value(text[:cut], 0, cut)
        assert not read.whole
        assert is_partial(text[:cut], read.end, cut), text[:cut]


def test_a_wrong_value_does_not_count_as_cut_off():
    for text in ("[1 2]", "[x y z", "[1, 'a' b, c", "{'a': 1; ", "[1, ]]]["):
        read = read_value(text, 0, len(text))
        if text.startswith("[1, ]"):
            assert (read.whole, read.end) == (True, 5)
        else:
            assert (read.whole, is_partial(text, read.end, len(text))) == (False, False)


def test_keys_may_hold_what_no_python_name_may():
    text = "f(user-id=1, $top = 2, a.b=3)"
    (attempt,) = read_calls(text, 0, len(text), {}, STYLE).attempts
    assert attempt.arguments == {"user-id": 1, "$top": 2, "a.b": 3}


def test_equal_signs_in_values_are_no_keys():
    text = "f('a=b', 'c')"
    schemas = {"f": {"properties": {"x": {}, "y": {}}}}
    (attempt,) = read_calls(text, 0, len(text), schemas, STYLE).attempts
    assert attempt.arguments == {"x": "a=b", "y": "c"}


def test_schemas_without_properties_name_no_parameters():
    for schema in ({}, {"properties": []}, {"properties": None}):
        (attempt,) = read_calls("f(1)", 0, 4, {"f": schema}, STYLE).attempts
        assert attempt.status == "malformed"


@pytest.mark.parametrize("style", [STYLE._replace(by_line=True), STYLE._replace(raw_quotes=True)])
@given(
    arguments=st.lists(st.sampled_from(_PIECES), max_size=14).map("".join), cut=st.integers(0, 4)
)
def test_plain_arguments_are_read_at_one_match_as_all_others_are(style, arguments, cut):
    text, schemas = f"[f({arguments})]", {"f": {"properties": {"a": {}, "b": {}}}}
    read = read_calls(text, 0, len(text) - cut, schemas, style)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(python_calls, "_PLAIN", re.compile("(?!)"))
        assert read_calls(text, 0, len(text) - cut, schemas, style) == read
