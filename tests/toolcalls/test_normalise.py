from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls import families
from tooltune.toolcalls.agree import accepts_arguments
from tooltune.toolcalls.choices import OneOf
from tooltune.toolcalls.normalise import fold_text, means, means_arguments
from tooltune.toolcalls.schema_view import view
from tooltune.toolcalls.truth import TruthCall

NUMBER, INTEGER, STRING = {"type": "number"}, {"type": "integer"}, {"type": "string"}
BOOLEAN, NOTHING = {"type": "boolean"}, {}
MAYBE = {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def same(left: Any, right: Any, schema: Any) -> bool:
    there = means(left, right, view(schema))
    assert means(right, left, view(schema)) is there
    return there


@pytest.mark.parametrize(
    ("left", "right", "schema", "expected"),
    [
        # numbers and their types
        (1, 1.0, NOTHING, True),
        (0.1 + 0.2, 0.3, NOTHING, True),
        (0.3, 0.3000001, NUMBER, False),
        (10**15, 10**15 + 1, NUMBER, False),
        (10.0**15, 10**15 + 1, NUMBER, False),
        (10**400, 1.5, NUMBER, False),
        (1, True, NUMBER, False),
        (0, False, NOTHING, False),
        (True, 1, BOOLEAN, False),
        # text for another type, by the schema alone
        ("5", 5, INTEGER, True),
        (" 5 ", 5, INTEGER, True),
        ("5.0", 5, INTEGER, True),
        ("5.5", 5.5, NUMBER, True),
        ("5.5", 5.5, INTEGER, False),
        ("5e0", 5, NUMBER, True),
        ("1e999", 5, NUMBER, False),
        ("five", 5, NUMBER, False),
        ("5", 5, STRING, False),
        ("5", 5, NOTHING, False),
        ("5", 5, {"type": ["integer", "string"]}, False),
        ("5", 5, {"type": ["integer", "null"]}, True),
        ("5", 5, MAYBE, True),
        ("5", 5, {"$ref": "#/$defs/n", "$defs": {"n": INTEGER}}, True),
        ("٥", 5, INTEGER, False),
        ("true", True, BOOLEAN, True),
        ("False", False, BOOLEAN, True),
        ("yes", True, BOOLEAN, False),
        ("true", True, STRING, False),
        ("1", True, BOOLEAN, False),
        ("null", None, MAYBE, False),
        # text
        ("Zürich", "Zu\u0308rich", STRING, True),
        ("Zürich", "Zurich", STRING, False),
        ("Paris", "paris", STRING, False),
        ("a  b", "a\u00a0b", STRING, True),
        (" a b\n", "a b", STRING, True),
        ("a b", "ab", STRING, False),
        ("a\r\nb", "a  \nb", STRING, True),
        ("a\nb", "a b", STRING, False),
        ("if x:\n  y", "if x:\n    y", STRING, False),
        ("it’s “so”", 'it\'s "so"', STRING, True),
        ("2–3", "2-3", STRING, True),
        ("April 1, 2024", "April 1 2024", STRING, False),
        ("2024-01-02", "2024-1-2", {"type": "string", "format": "date"}, False),
        ("a b", "a  b", {"enum": ["a b"]}, False),
        ("a b", "a b", {"enum": ["a b"]}, True),
        ("½", "1/2", STRING, False),
        # lists and objects
        ([1, "2"], ["1", 2], {"items": INTEGER}, True),
        ([1, 2], [2, 1], {"items": INTEGER}, False),
        ([1], [1, 1], {"items": INTEGER}, False),
        (["1", "1"], [1, "1"], {"prefixItems": [INTEGER], "items": STRING}, True),
        ({"a": "1"}, {"a": 1}, {"properties": {"a": INTEGER}}, True),
        ({"a": "1"}, {"a": 1}, {"additionalProperties": INTEGER}, True),
        ({}, [], NOTHING, False),
        (None, "", STRING, False),
        # what only one side gives
        ({}, {"a": 3}, {"properties": {"a": {"default": 3}}}, True),
        ({}, {"a": "3"}, {"properties": {"a": {"type": "integer", "default": 3}}}, True),
        ({}, {"a": 4}, {"properties": {"a": {"default": 3}}}, False),
        ({}, {"a": 3}, {"properties": {"a": {"default": 3}}, "required": ["a"]}, False),
        ({}, {"a": None}, {"properties": {"a": INTEGER}}, True),
        ({}, {"a": None}, {"properties": {"a": {"default": 3}}}, False),
        ({}, {"a": None}, {"properties": {"a": INTEGER}, "required": ["a"]}, False),
        ({}, {"a": None}, {"properties": {"b": INTEGER}}, False),
        ({}, {"a": None}, NOTHING, False),
        ({}, {"a": 1}, {"properties": {"a": INTEGER}}, False),
    ],
)
def test_values_mean_the_same_where_the_module_says_so_and_nowhere_else(
    left, right, schema, expected
):
    assert same(left, right, schema) is expected
    inside = {"properties": {"x": schema}, "$defs": schema.get("$defs", {})}
    assert means_arguments(TruthCall("f", {"x": left}), {"x": right}, inside) is expected


schemas = st.sampled_from(
    [None, True, {}, {"properties": {"": STRING}}, {"additionalProperties": NUMBER}, {"type": 1}]
)


@given(families.arguments, families.arguments, schemas)
def test_what_is_equal_means_the_same_and_neither_side_is_privileged(left, right, schema):
    assert means_arguments(TruthCall("f", left), left, schema)
    there = means_arguments(TruthCall("f", left), right, schema)
    assert means_arguments(TruthCall("f", right), left, schema) is there
    if accepts_arguments(TruthCall("f", left), right):
        assert there


@given(families.words)
def test_folding_a_folded_text_changes_nothing(text):
    assert fold_text(fold_text(text)) == fold_text(text)


def test_optional_arguments_and_choices_are_read_by_meaning_too():
    schema = {"properties": {"n": {"type": "integer", "default": 3}, "o": {"type": "object"}}}
    truth = TruthCall(
        "f",
        {"n": 5, "o": {"a": OneOf(("x y", 7), optional=True)}},
        {"n": (6,)},
        frozenset({"n"}),
    )
    for fits in (
        {"n": "6", "o": {"a": "x  y"}},
        {"o": {}},
        {"n": 3, "o": {"a": 7.0}},  # the default is as good as leaving it out, which is allowed
    ):
        assert means_arguments(truth, fits, schema)
    for misfit in ({"n": 4, "o": {}}, {"n": 5}, {"n": 5, "o": {"a": None}}, {"o": {"b": 1}}):
        assert not means_arguments(truth, misfit, schema)


def test_an_optional_field_may_be_given_with_its_default():
    schema = {"properties": {"o": {"properties": {"a": {"type": "integer", "default": 9}}}}}
    truth = TruthCall("f", {"o": {"a": OneOf((7,), optional=True)}})
    fits = [means_arguments(truth, {"o": {"a": value}}, schema) for value in (7, "9", 8)]
    assert fits == [True, True, False]


def test_a_schema_that_refers_to_itself_comes_to_an_end():
    schema: dict[str, Any] = {"$ref": "#", "anyOf": [{"$ref": "#"}, {"$ref": "#/nowhere/0"}]}
    schema |= {"properties": {"a": {"$ref": "#"}}, "allOf": [{"$ref": "other.json"}]}
    assert means_arguments(TruthCall("f", {"a": {"a": 1}}), {"a": {"a": 1.0}}, schema)


@pytest.mark.parametrize(
    "text",
    [
        "a" + "\u0301" * 250_000 + "\u0327" * 250_000,
        " " * 1_000_000,
        "a " * 500_000,
        "\r" * 1_000_000,
        "9" * 1_000_000,
        "‘" * 1_000_000,
    ],
    ids=["combining marks", "spaces", "words", "line ends", "digits", "quotes"],
)
@pytest.mark.parametrize("schema", [STRING, NUMBER], ids=["text", "number"])
def test_a_text_of_a_million_characters_is_compared_in_linear_time(text, schema):
    start = time.process_time()
    means_arguments(TruthCall("f", {"x": "b"}), {"x": text}, {"properties": {"x": schema}})
    assert time.process_time() - start < 1
