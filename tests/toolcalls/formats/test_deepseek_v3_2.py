from __future__ import annotations

import pytest

from tooltune.toolcalls.parse import parse_turn


def call(*parameters: str) -> str:
    return "\n".join(['<｜DSML｜invoke name="f">', *parameters, "</｜DSML｜invoke>"])


def parameter(value: str, said: str, key: str = "x") -> str:
    return f'<｜DSML｜parameter name="{key}"{said}>{value}</｜DSML｜parameter>'


def block(*calls: str, name: str = "function_calls") -> str:
    return f"<｜DSML｜{name}>\n" + "\n".join(calls) + f"\n</｜DSML｜{name}>"


AS_STRING, AS_JSON = ' string="true"', ' string="false"'


@pytest.mark.parametrize(
    ("value", "said", "read"),
    [
        ("5", AS_STRING, "5"),
        ("5", AS_JSON, 5),
        ('{"a": [true]}', AS_JSON, {"a": [True]}),
        ('"5"', AS_JSON, "5"),
        ("5", "", 5),
        ("five", "", "five"),
    ],
)
def test_the_call_says_itself_what_is_a_string(value, said, read):
    (found,) = parse_turn(block(call(parameter(value, said))), "deepseek_v3_2").calls
    assert (found.status, found.arguments) == ("ok", {"x": read})


def test_what_the_call_says_goes_before_the_schema():
    tool = {"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}}}
    text = block(call(parameter("5", AS_STRING)))
    (found,) = parse_turn(text, "deepseek_v3_2", [tool]).calls
    assert found.arguments == {"x": "5"}


@pytest.mark.parametrize("value", ["five", "True", "{", "NaN", "", "9" * 5000])
def test_a_value_that_is_said_to_be_json_and_is_not_is_invalid(value):
    text = block(call(parameter(value, AS_JSON), parameter("5", AS_STRING, "y")))
    (found,) = parse_turn(text, "deepseek_v3_2").calls
    assert (found.name, found.status, found.arguments) == ("f", "invalid_json", {})
    assert not found.arguments_valid_json


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (block(call(), call(), name="tool_calls"), ["ok", "ok"]),
        (block(call()) + "<｜end▁of▁sentence｜>", ["ok"]),
        ("<｜DSML｜function_calls>\n" + call(), ["unclosed"]),
        (call(), ["malformed"]),
        (block("Nothing."), ["malformed"]),
        (block('<｜DSML｜invoke name="f">'), ["malformed"]),
        (block(call('{"x": 1}')), ["malformed"]),
    ],
)
def test_each_departure_from_the_format_has_its_status(text, statuses):
    assert [found.status for found in parse_turn(text, "deepseek_v3_2").calls] == statuses
