"""Conditions on columns: a closed grammar, and every value of the data has one outcome."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.strategies import TEXT, json_objects, json_values
from tooltune.errors import UserError
from tooltune.traces.where import RowFiltered, check_where, parse_where


def kept(row: Any, **where: Any) -> bool:
    try:
        check_where(row, parse_where(where))
    except RowFiltered:
        return False
    return True


@given(value=json_values(), test=TEXT | st.integers() | st.booleans() | st.none())
def test_a_condition_and_its_opposite_divide_the_rows(value: Any, test: Any) -> None:
    if isinstance(test, str) and test.startswith(("<", ">", "=", "!")):
        return
    spelt = "null" if test is None else str(test).lower() if isinstance(test, bool) else str(test)
    row = {"x": value}
    if spelt.strip() == spelt:  # white space behind the sign is no part of the value
        assert kept(row, x=f"={spelt}") != kept(row, x=f"!={spelt}")
    for low, high in ((">=", "<"), (">", "<=")):
        inside = [kept(row, x=f"{sign}0.5") for sign in (low, high)]
        is_number = type(value) in (int, float)
        assert sum(inside) == 1 if is_number else sum(inside) <= 1


@given(row=json_objects())
def test_what_a_condition_lets_pass_does_not_change_with_another_column(row: Any) -> None:
    assert kept({**row, "score": 1, "other": None}, score=">=1")
    assert not kept({**row, "score": 0}, score=">=1")


@pytest.mark.parametrize(
    ("value", "test", "expected"),
    [
        ("success", "success", True),
        ("Success", "success", False),
        (1, 1, True),
        (1.0, 1, True),
        (True, 1, False),
        (1, True, False),
        ("5", 5, True),
        (5, "5", False),
        (5, "=5", True),
        (0.5, ">=0.5", True),
        ("0.9", ">0.5", True),
        ("high", ">0.5", False),
        (None, ">=0", False),
        (None, None, True),
        (0, None, False),
        ("x", "!=null", True),
        (None, "!=null", False),
        (True, "=true", True),
        ("2024-06-02", ">=2024-06-01", True),
        ("2024-05-31", ">= 2024-06-01", False),
        (4, [4, 5], True),
        (3, [4, 5], False),
        (9, ["<2", ">8"], True),
        (["a"], "a", False),
        (10**400, ">1", True),
        ("10", ">9", True),
        (12345678901234567890, "=12345678901234567890", True),
        (12345678901234567891, "=12345678901234567890", False),
        ("1_0", 10, False),
        ("-1.5e1", -15, True),
    ],
)
def test_examples_of_the_grammar(value: Any, test: Any, expected: bool) -> None:
    assert kept({"x": value}, x=test) is expected


def test_a_column_may_be_nested_be_json_text_or_have_a_dot_in_its_name() -> None:
    row = {"meta": {"a": [{"b": 1}]}, "text": '{"score": 2}', "x.y": 3, "x": {"y": 4}}
    for column, value in (("meta.a.0.b", 1), ("text.score", 2), ("x.y", 3)):
        assert kept(row, **{column: value})
    for column in ("meta.a.1.b", "meta.a.x", "text.other", "meta.a.0.b.c", "a" * 50, "meta..a"):
        assert kept(row, **{column: None})


def test_a_filtered_row_names_the_condition_and_the_value() -> None:
    with pytest.raises(RowFiltered) as caught:
        check_where({"outcome": "failure"}, parse_where({"outcome": ["success", "!=failure"]}))
    assert caught.value.condition == "outcome: success or !=failure"
    assert "outcome is 'failure'" in caught.value.reason
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, again.condition, again.reason) == (
        "filtered",
        caught.value.condition,
        caught.value.reason,
    )
    with pytest.raises(RowFiltered, match="did you mean 'outcome'"):
        check_where({"outcome": "failure"}, parse_where({"outcom": "success"}))


def test_a_row_that_is_no_object_is_not_filtered_since_it_is_bad() -> None:
    for row in (5, None, [], "x"):
        assert kept(row, x=1)


@pytest.mark.parametrize("test", [[], {"a": 1}, [[1]], ">=", ">true", "<null", float("nan")])
def test_what_is_no_condition_is_an_error(test: Any) -> None:
    with pytest.raises(UserError, match=r"where\.x") as caught:
        parse_where({"x": test})
    assert caught.value.fix
