"""Columns by the names that the data have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.strategies import json_objects, json_values
from tooltune.traces.columns import read_group, read_weight, rename
from tooltune.traces.jsonio import RowError


@given(row=json_objects(), value=json_values())
def test_a_renamed_column_stands_under_its_canonical_name_and_nowhere_else(
    row: dict[str, Any], value: Any
) -> None:
    given_row = {**row, "log": value}
    renamed = rename(given_row, [("messages", "log")])
    assert renamed == {**row, "messages": value}
    assert given_row["log"] == value
    assert rename(given_row, ()) is given_row


def test_two_columns_can_change_places_and_one_can_be_taken_from_inside() -> None:
    row = {"a": 1, "b": 2, "body": {"messages": [3]}}
    assert rename(row, [("a", "b"), ("b", "a")]) == {"a": 2, "b": 1, "body": {"messages": [3]}}
    assert rename(row, [("messages", "body.messages")])["messages"] == [3]


def test_a_missing_column_names_those_there_are() -> None:
    row = {"conversation_log": [], "functions_json": "[]"}
    with pytest.raises(RowError, match="there are: 'conversation_log', 'functions_json'") as caught:
        rename(row, [("tools", "function_json")])
    assert caught.value.code == "missing_column"
    assert "did you mean 'functions_json'?" in caught.value.reason
    assert "tools: function_json? if rows may lack it" in caught.value.reason
    assert rename(row, [("tools", "function_json?")]) == row
    for no_object in (5, None, [], "x"):
        with pytest.raises(RowError, match="it has no column"):
            rename(no_object, [("tools", "functions_json")])


@given(value=st.floats(0, 1e6) | st.integers(0, 1000))
def test_a_weight_is_the_number_or_the_text_of_it(value: float) -> None:
    assert read_weight({"w": value}, "w") == value
    assert read_weight({"w": repr(value)}, "w") == value


@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), "much", True, [], 1e7])
def test_a_weight_that_is_none_is_rejected(value: Any) -> None:
    with pytest.raises(RowError) as caught:
        read_weight({"w": value}, "w")
    assert caught.value.code == "invalid_weight"


@pytest.mark.parametrize("row", [{}, {"w": None}])
@pytest.mark.parametrize("read", [read_weight, read_group])
def test_a_row_without_the_column_is_rejected(row: Any, read: Any) -> None:
    with pytest.raises(RowError) as caught:
        read(row, "w")
    assert caught.value.code == "missing_column"


def test_a_group_is_text() -> None:
    assert [read_group({"g": g}, "g") for g in ("s1", 7, True)] == ["s1", "7", "true"]
    for value in ("", 0.5, [], {}):
        with pytest.raises(RowError, match="invalid_group"):
            read_group({"g": value}, "g")
