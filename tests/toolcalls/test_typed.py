from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.toolcalls import families
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.typed import property_schema, read_value

PRINTED = {
    "5": 5,
    "-1.5": -1.5,
    "true": True,
    "null": None,
    '{"a": [1, null]}': {"a": [1, None]},
    "[]": [],
}


def read(text: str, schema: Any, *, python_words: bool = False) -> Any:
    root = {"properties": {"x": schema}, "$defs": DEFINITIONS}
    return read_value(text, property_schema(root, "x"), root, python_words=python_words)


DEFINITIONS = {
    "name": {"type": "string"},
    "count": {"type": "integer"},
    "maybe": {"anyOf": [{"$ref": "#/$defs/count"}, {"type": "null"}]},
    "loop": {"$ref": "#/$defs/loop"},
    "tree": {"anyOf": [{"$ref": "#/$defs/tree"}, {"$ref": "#/$defs/tree"}]},
}


@pytest.mark.parametrize(
    "text", [*PRINTED, '"5"', "", " ", "NaN", "1e999", "True", "{", "9" * 5000]
)
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "str"},
        {"type": ["string"]},
        {"anyOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]},
        {"$ref": "#/$defs/name"},
        {"enum": ["5", "true"]},
        {"const": "5"},
        {"type": ["string", "integer"], "enum": ["a"]},
        {"allOf": [{"type": ["string", "null"]}, {"type": ["string", "integer"]}]},
    ],
)
def test_where_only_strings_are_allowed_every_text_stays(text, schema):
    assert read(text, schema, python_words=True) == text


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, " 5\n", 5),
        ({"type": "integer"}, "5.0", 5.0),
        ({"type": "number"}, "5", 5),
        ({"type": "number"}, "1E2", 100.0),
        ({"type": "boolean"}, "true", True),
        ({"type": "null"}, "null", None),
        ({"type": "object"}, '{"a":1}', {"a": 1}),
        ({"type": "array"}, "[1,\n 2]", [1, 2]),
        ({"type": "array", "items": {"type": "string"}}, '["5"]', ["5"]),
        ({"items": {}}, "[ ]", []),
        ({"properties": {}}, "{ }", {}),
        ({"$ref": "#/$defs/count"}, "5", 5),
        ({"$ref": "#/$defs/maybe"}, "null", None),
        ({"enum": [1, 2]}, "2", 2),
        ({"const": None}, "null", None),
        ({"type": "integer", "nullable": True}, "null", None),
        ({"type": "float"}, "1.5", 1.5),
        ({"type": "dict"}, "{}", {}),
    ],
)
def test_where_no_string_is_allowed_json_is_read(schema, text, value):
    assert json_equal(read(text, schema), value)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer"}, "five"),
        ({"type": "integer"}, "1.5x"),
        ({"type": "boolean"}, "True"),
        ({"type": "object"}, '{"a": 1'),
        ({"type": "object"}, '{"a": 1, "a": 2}'),
        ({"type": "number"}, "NaN"),
        ({"type": "number"}, "9" * 5000),
        ({"type": "array"}, "[" * 5000),
        ({"type": "integer"}, '"5"'),
        ({"type": "integer"}, ""),
    ],
)
def test_a_text_that_is_no_json_of_the_type_stays_the_wrong_value_that_it_is(schema, text):
    assert read(text, schema) == text


def test_a_value_of_another_type_than_the_schema_allows_is_given_as_it_was_printed():
    assert read("[150, 350]", {"type": "number"}) == [150, 350]
    assert read("[150,350]", {"type": "number"}) == "[150,350]"
    assert read("1.5", {"type": "integer"}) == 1.5
    assert read("5", {"type": ["string", "boolean"]}) == "5"


MIXED = [
    {"anyOf": [{"type": "string"}, {}]},
    {"type": ["string", "integer", "number", "boolean", "null", "object", "array"]},
    {"oneOf": [{"type": "string"}, {"type": ["number", "boolean", "null", "object", "array"]}]},
    {},
    True,
    None,
    "nonsense",
    {"type": "any"},
    {"$ref": "#/$defs/nowhere"},
    {"$ref": "https://example.org/schema"},
    {"$ref": "#/$defs/loop"},
]


@pytest.mark.parametrize("schema", MIXED)
def test_where_strings_are_allowed_too_only_what_a_template_prints_is_another_value(schema):
    for text, value in PRINTED.items():
        assert json_equal(read(text, schema), value)
    for text in ("", "five", " 5", "5 ", "05", "1e2", "5.50", '{"a":1}', "[1,2]", '"a"', "True"):
        assert read(text, schema) == text


def test_an_enumeration_decides_between_a_string_and_a_number():
    assert read("1", {"enum": ["1", 2]}) == "1"
    assert read("2", {"enum": ["1", 2]}) == 2
    assert read("auto", {"enum": ["auto", 5]}) == "auto"
    assert read("5", {"enum": ["5", 5]}) == 5


def test_python_words_are_read_only_where_the_family_writes_them():
    for word, value in (("True", True), ("False", False), ("None", None)):
        schema = {"type": ["boolean", "null"]}
        assert read(word, schema, python_words=True) is value
        assert read(word, {}, python_words=True) is value
        assert read(word, schema) == word
    assert read("True", {"type": "integer"}, python_words=True) is True  # wrong, and shown so


def test_an_undeclared_parameter_may_be_of_any_type():
    root = {"type": "object", "properties": {"x": {"type": "string"}}}
    assert read_value("5", property_schema(root, "y"), root) == 5
    for empty in ({}, {"properties": None}, {"properties": []}, "no schema", None, [1]):
        assert read_value("5", property_schema(empty, "x"), empty) == 5  # type: ignore[arg-type]


def test_properties_are_found_behind_references_and_in_alternatives():
    inner = {"properties": {"x": {"type": "string"}}}
    for root in (
        {"$ref": "#/$defs/a", "$defs": {"a": inner}},
        {"allOf": [{"properties": {}}, inner]},
        {"anyOf": [{"properties": {"z": {}}}, inner]},
        {"additionalProperties": {"type": "string"}},
    ):
        assert read_value("5", property_schema(root, "x"), root) == "5"


def test_schemas_that_refer_to_themselves_take_no_time():
    started = time.process_time()
    assert read("5", {"$ref": "#/$defs/tree"}) == 5
    many = {"anyOf": [{"$ref": "#"}] * 9}
    assert read_value("5", property_schema(many, "x"), many) == 5
    assert time.process_time() - started < 0.2


@given(families.values, st.booleans())
@example(1e22, False)
@example(-0.0, False)
def test_what_a_template_prints_is_read_back_without_a_schema_unless_it_is_a_string(value, ascii):
    if not isinstance(value, str):
        assert json_equal(read(json.dumps(value, ensure_ascii=ascii), {}), value)
        if not isinstance(value, (dict, list)):
            assert json_equal(read(str(value), {}, python_words=True), value)


@given(st.text(), st.sampled_from([*MIXED, {"type": "integer"}, {"enum": ["1", 2]}]))
def test_no_text_raises_and_a_string_is_never_read_as_another_string(text, schema):
    value = read(text, schema, python_words=True)
    assert value == text if isinstance(value, str) else True
