from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls import families
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.tolerant_json import REPAIRS, Tolerant, read_tolerant

containers = st.dictionaries(families.strings, families.values, max_size=3) | st.lists(
    families.values, max_size=3
)
# What Python's repr and JSON's quotes agree on.
plain_strings = st.text("abc 5{}[],:", max_size=6)
python_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | plain_strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_strings, inner, max_size=3),
    max_leaves=6,
)


def read(text: str) -> Tolerant | None:
    return read_tolerant(text, 0, len(text))


@given(value=containers, ascii_only=st.booleans())
def test_json_is_read_as_it_is_and_nothing_is_mended(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    result = read(text)
    assert result is not None
    assert json_equal(result.value, value)
    assert result.repairs == ()
    assert result.end == len(text)


@given(value=st.dictionaries(plain_strings, python_values, max_size=3))
def test_a_python_dictionary_is_read_as_what_it_is(value):
    result = read(repr(value))
    assert result is not None
    assert json_equal(result.value, value)
    assert set(result.repairs) <= {"single_quotes", "python_word"}


@given(value=containers, data=st.data())
def test_a_cut_value_reads_as_whole_members_of_it_or_not_at_all(value, data):
    text = json.dumps(value)
    result = read(text[: data.draw(st.integers(1, len(text)))])
    if result is not None:
        assert _is_beginning(result.value, value)


def _is_beginning(part: object, whole: object) -> bool:
    """Every member of `part` is whole in `whole`, save the last of each level, cut likewise."""
    if isinstance(part, dict) and isinstance(whole, dict):
        keys = list(part)
        if keys != list(whole)[: len(keys)]:
            return False
        return all(
            json_equal(part[k], whole[k]) or (k == keys[-1] and _is_beginning(part[k], whole[k]))
            for k in keys
        )
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(
            json_equal(p, w) or (i == len(part) - 1 and _is_beginning(p, w))
            for i, (p, w) in enumerate(zip(part, whole, strict=False))
        )
    return False


@given(text=st.text(st.sampled_from("{}[]\"'\\:,truefalsn0-1.eE/* <\n\ud800"), max_size=60))
def test_no_text_makes_it_raise(text):
    result = read(text)
    assert result is None or set(result.repairs) <= set(REPAIRS)


@pytest.mark.parametrize(
    ("text", "value", "repair"),
    [
        ('{"a": {"b": 1}', {"a": {"b": 1}}, "missing_closer"),
        ('[{"a": 1}</tool_call>', [{"a": 1}], "missing_closer"),
        ('{"a": [1, 2,],}', {"a": [1, 2]}, "trailing_comma"),
        ('{"a": 1, "b": "x" "c": "y"}', {"a": 1, "b": "x", "c": "y"}, "missing_comma"),
        ("{'a': 'x'}", {"a": "x"}, "single_quotes"),
        ('{a: 1, b_2: "x"}', {"a": 1, "b_2": "x"}, "unquoted_key"),
        ('{"a": True, "b": None}', {"a": True, "b": None}, "python_word"),
        ('{"a": "x\ny"}', {"a": "x\ny"}, "raw_control_character"),
        ('{"a": "it\\\'s", "p": "\\d"}', {"a": "it's", "p": "\\d"}, "wrong_escape"),
        ('{"a": 1 // one\n, /* two */ "b": 2}', {"a": 1, "b": 2}, "comment"),
    ],
)
def test_each_slip_is_mended_and_named(text, value, repair):
    result = read(text)
    assert result is not None
    assert json_equal(result.value, value)
    assert result.repairs == (repair,)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "cut in its mid',
        '{"a": 12',  # more digits may have been meant
        '{"a":',
        '{"a"',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        '{"a": \\ud800}',
        '{"a": "\\ud800"}',
        '{"a": 01}',
        '{"a": hello}',
        '{"a": [1}',
        "[" * 300 + "]" * 300,
        "1",
        "",
    ],
)
def test_what_has_no_one_meaning_is_not_read(text):
    assert read(text) is None


@pytest.mark.parametrize(
    "unit",
    ['{"a":', "[", '{"a":1,', "[/*", "['", '["\\', "[[],", '{"a": "', "{a", '[{"a": 1}{'],
)
def test_a_megabyte_of_anything_takes_linear_time(unit):
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    read(text)
    read("{" + text)
    assert time.process_time() - start < 4  # a quadratic walk would take hours
