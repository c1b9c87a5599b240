"""Strict JSON: bad text has one defined outcome, good text reads as the json module does."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.strategies import json_values
from tooltune.traces.jsonio import MAX_DEPTH, RowError, check_value, loads, skip_value


def code_of(text: str | bytes) -> str:
    with pytest.raises(RowError) as caught:
        loads(text)
    assert "row" in caught.value.reason
    return caught.value.code


@given(json_values(), st.booleans(), st.sampled_from([None, 2]))
def test_what_the_json_module_writes_is_read_back(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert loads(text) == loads(text.encode()) == value
    check_value(value)


@given(st.text() | st.binary())
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    with suppress(RowError):
        check_value(loads(text))


@given(st.lists(st.sampled_from(list('[]{},:"\\0019eE.-truefalsn \n'))))
def test_any_json_like_text_is_read_as_the_json_module_does_or_refused(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        value = loads(text)
    except RowError as error:
        if error.code == "invalid_json":
            with pytest.raises(ValueError):
                json.loads(text)
    else:
        assert value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("{'a': 1}", "invalid_json"),
        ('{"a": 1} x', "invalid_json"),
        ('{"a": "raw \0 nul"}', "invalid_json"),
        ('{"a": 1, "b": {"c": 2, "c": 2}}', "duplicate_key"),
        ('{"a": NaN}', "non_finite_number"),
        ("[-Infinity]", "non_finite_number"),
        ("[1e999]", "non_finite_number"),
        (f"[{'9' * 5000}]", "number_too_long"),
        (f"[-{'9' * 5000}]", "number_too_long"),
        (r'{"a": "\ud800"}', "lone_surrogate"),
        (r'{"\uDFFF": 1}', "lone_surrogate"),
        ('{"a": "\udc80"}', "lone_surrogate"),
        (r'{"a": "x\u0000"}', "nul_character"),
        ("[" * 100_000, "too_deep"),
        ("[" * 100_000 + "]" * 100_000, "too_deep"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "too_deep"),
        (b'{"a": "\xff"}', "not_utf8"),
        ('{"a": 1}'.encode("utf-16"), "not_utf8"),
    ],
)
def test_each_bad_text_has_its_code(text: str | bytes, code: str) -> None:
    assert code_of(text) == code


def test_the_place_of_a_syntax_error_is_named() -> None:
    with pytest.raises(RowError, match="line 2, column 3"):
        loads("{\n  oops: 1}")


def test_surrogate_pairs_line_separators_and_a_byte_order_mark_are_fine() -> None:
    assert loads(r'["\ud83d\ude00"]') == ["\U0001f600"]
    assert loads('["a\u2028b\x85c"]') == ["a\u2028b\x85c"]
    assert loads(b"\xef\xbb\xbf[1]") == loads("\ufeff[1]") == [1]


def test_nesting_up_to_the_limit_is_accepted() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    check_value(loads(text))
    assert code_of(f"[{text}]") == "too_deep"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"a": float("nan")}, "non_finite_number"),
        ([10**5000], "number_too_long"),
        ({"a": ["\0"]}, "nul_character"),
        ({"\ud800": 1}, "lone_surrogate"),
        ({1: 2}, "not_json"),
        ({"a": b"x"}, "not_json"),
    ],
)
def test_python_values_that_are_no_json_are_refused(value: object, code: str) -> None:
    with pytest.raises(RowError) as caught:
        check_value(value)
    assert caught.value.code == code


def test_a_cyclic_value_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(RowError, match="too_deep"):
        check_value(value)


@given(json_values(), st.text(alphabet=' ,]}"[{x'))
def test_the_end_of_a_value_is_found_by_its_brackets(value: object, rest: str) -> None:
    text = json.dumps(value)
    behind = " " + rest if isinstance(value, (int, float)) or value is None else rest
    assert skip_value(text + behind, 0) == len(text)


def test_a_value_that_never_closes_has_no_end() -> None:
    assert skip_value('[{"a": "]}"', 0) is None
