from __future__ import annotations

from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.strategies import json_objects
from tooltune.traces import RowError
from tooltune.traces.formats.shared.schemas import (
    flat_schema,
    is_flat,
    normal_schema,
    normal_tools,
    type_schema,
)

INTEGER = {"type": "integer"}
STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("str", STRING),
        ("int, optional", INTEGER),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("list", {"type": "array"}),
        ("dict", {"type": "object"}),
        ("any", {}),
        ("List[int]", {"type": "array", "items": INTEGER}),
        ("list[List[str]]", {"type": "array", "items": {"type": "array", "items": STRING}}),
        ("Set[str]", {"type": "array", "items": STRING}),
        ("Dict[str, int]", {"type": "object", "additionalProperties": INTEGER}),
        ("Union[int, str]", {"anyOf": [INTEGER, STRING]}),
        (
            "List[Union[int, str]], optional",
            {"type": "array", "items": {"anyOf": [INTEGER, STRING]}},
        ),
        (
            "Tuple[int, str]",
            {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2},
        ),
        ("Tuple[int, ...]", {"type": "array", "items": INTEGER}),
        ("Optional[str]", STRING),
        ("List[Optional[int]]", {"type": "array", "items": {"anyOf": [INTEGER, {"type": "null"}]}}),
        ("HashMap", {"type": "object"}),
        ("ArrayList", {"type": "array"}),
        ("Callable[[float], float]", {"format": "Callable[[float], float]"}),
        ("np.ndarray", {"format": "np.ndarray"}),
    ],
)
def test_type_names_become_json_schema(text: str, schema: dict[str, Any]) -> None:
    assert type_schema(text)[0] == schema
    assert type_schema(text)[1] is ("optional" in text.lower() and "List[O" not in text)


@given(st.text(alphabet="listoptunydc[], .T|é", max_size=40))
def test_any_type_text_becomes_a_valid_schema(text: str) -> None:
    jsonschema.Draft202012Validator.check_schema(type_schema(text)[0])


def test_long_and_deep_type_texts_are_kept_as_they_are() -> None:
    text = "List[" * 20_000 + "]" * 20_000
    assert type_schema(text) == ({"format": text}, False)


def test_a_flat_description_says_what_is_required_and_keeps_the_order() -> None:
    schema = flat_schema(
        {
            "city": {"description": "where", "type": "str"},
            "days": {"type": "int, optional", "description": "how many", "default": 3},
            "unit": {"type": "str", "default": "C"},
        },
        "here",
    )
    assert list(schema["properties"]) == ["city", "days", "unit"]
    assert list(schema["properties"]["days"].items()) == [
        ("type", "integer"),
        ("description", "how many"),
        ("default", 3),
    ]
    assert schema["required"] == ["city"]


def test_a_parameter_that_is_no_object_is_refused_by_name() -> None:
    with pytest.raises(RowError, match=r"parameter_not_an_object.*'city'"):
        flat_schema({"city": "a town"}, "tools[0].parameters")


def test_a_parameter_named_type_or_properties_does_not_hide_the_flat_form() -> None:
    assert is_flat({"type": {"type": "str"}, "city": {"type": "str"}})
    assert is_flat({"properties": {"type": "list", "description": "of the house"}})
    assert not is_flat({"type": "object", "properties": {}})
    assert not is_flat({"properties": {"city": {"type": "string"}}})


def test_types_are_normal_at_every_depth_and_nothing_else_changes() -> None:
    schema = {
        "type": "dict",
        "required": None,
        "properties": {
            "type": {"type": "String", "enum": ["dict"]},
            "rows": {"type": "tuple", "items": {"type": "float"}, "minItems": 2},
            "any": {"type": "any", "default": {"type": "dict"}},
        },
    }
    assert normal_schema(schema) == {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["dict"]},
            "rows": {"type": "array", "items": {"type": "number"}, "minItems": 2},
            "any": {"default": {"type": "dict"}},
        },
    }


@given(json_objects())
def test_a_schema_in_json_schema_terms_stays_as_it_is(schema: dict[str, Any]) -> None:
    schema = {key: value for key, value in schema.items() if key not in ("type", "required")}
    assert normal_schema(schema) == schema
    once = normal_schema({"type": "dict", "properties": {"a": schema}})
    assert normal_schema(once) == once


@given(json_objects() | st.lists(json_objects(), max_size=2) | st.none() | st.integers())
def test_any_tools_are_normal_or_refused(tools: Any) -> None:
    with suppress(RowError):
        normal_tools(tools, "tools", flat=True)
    with suppress(RowError):
        normal_tools([{"name": "f", "parameters": tools}], "tools", flat=True)
