from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, read_row

ROW: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be "}, {"text": "brief."}]},
    "tools": [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "Weather of a city.",
                    "parameters": {
                        "type": "OBJECT",
                        "properties": {
                            "type": {"type": "STRING", "enum": ["STRING", "now"]},
                            "days": {"type": "ARRAY", "items": {"type": "INTEGER"}},
                        },
                        "required": ["type"],
                    },
                },
                {"name": "stop", "parametersJsonSchema": {"type": "object"}},
            ]
        }
    ],
    "toolConfig": {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]},
    },
    "generationConfig": {"temperature": 0, "responseMimeType": "application/json"},
    "contents": [
        {"role": "user", "parts": [{"text": "Oslo, now and later?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Two calls.", "thought": True},
                {"text": "I look."},
                {
                    "functionCall": {"name": "weather", "args": {"type": "now", "days": [1]}},
                    "thoughtSignature": "c2ln",
                },
                {"functionCall": {"name": "weather"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"output": "dry"}}},
                {"functionResponse": {"name": "weather", "response": {"error": {"code": 5}}}},
                {"text": "In one word."},
            ],
        },
        {"role": "model", "parts": [{"text": "Dry."}]},
    ],
}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def read(*contents: Any, **row: Any) -> Trace:
    return read_row({"contents": [user({"text": "?"}), *contents], **row}, "gemini")


def snake(value: Any) -> Any:
    """The same row as the Python SDK names its keys."""
    if isinstance(value, dict):
        return {
            re.sub("([A-Z])", lambda m: f"_{m[0].lower()}", k): snake(v) for k, v in value.items()
        }
    return [snake(item) for item in value] if isinstance(value, list) else value


CALL = {"functionCall": {"name": "f", "args": {}}}
TEXT = {"text": "Well."}


def configured(**config: Any) -> dict[str, Any]:
    return {"toolConfig": {"functionCallingConfig": config}}


def response(value: Any) -> dict[str, Any]:
    return user({"functionResponse": {"name": "f", "response": value}})


def test_the_golden_row_is_read_whole() -> None:
    trace = read_row(ROW, "gemini")
    calls = (ToolCall("weather", {"type": "now", "days": [1]}), ToolCall("weather"))
    assert trace.messages == (
        Message("system", "Be brief."),
        Message("user", "Oslo, now and later?"),
        Message("assistant", "I look.", calls, reasoning="Two calls."),
        Message("tool", "dry", name="weather"),
        Message("tool", '{"code": 5}', name="weather", is_error=True),
        Message("user", "In one word."),
        Message("assistant", "Dry."),
    )
    parameters = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["STRING", "now"]},
            "days": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["type"],
    }
    weather = {"name": "weather", "description": "Weather of a city.", "parameters": parameters}
    stop = {"name": "stop", "parameters": {"type": "object"}}
    assert trace.tools == (Tool(weather), Tool(stop))
    assert json.dumps(trace.tools[0].function) == json.dumps(weather)
    assert trace.settings == {
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "response_format": {"type": "json_object"},
    }


def test_snake_case_and_camel_case_read_the_same() -> None:
    row = copy.deepcopy(ROW)
    assert read_row(snake(row), "gemini") == read_row(ROW, "gemini")


def test_keys_without_a_value_say_nothing() -> None:
    part = {"text": "Well.", "function_call": None, "inline_data": None, "thought": None}
    assert read(model(part)).messages[1] == Message("assistant", "Well.")


def test_any_other_response_is_kept_whole() -> None:
    for value in ({"result": 1}, {"output": 1, "more": 2}, {}, {"error": "x", "at": 3}):
        message = read(model(CALL), response(value)).messages[2]
        assert json.loads(message.content or "") == value
        assert not message.is_error


def test_ids_pair_results_where_there_are_any() -> None:
    calls = [{"functionCall": {"id": i, "name": "f"}} for i in "ab"]
    results = [
        {"functionResponse": {"id": i, "name": "f", "response": {"output": i}}} for i in "ba"
    ]
    trace = read(model(*calls), {"role": "function", "parts": results})
    assert [(m.tool_call_id, m.content) for m in trace.messages[2:]] == [("b", "b"), ("a", "a")]


def test_calls_of_their_own_content_join_the_text_before_them() -> None:
    trace = read(model(TEXT), model(CALL), model(CALL))
    assert trace.messages[1] == Message("assistant", "Well.", (ToolCall("f"), ToolCall("f")))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"mode": "AUTO"}, "auto"),
        ({"mode": "none"}, "none"),
        ({"mode": "ANY"}, "required"),
        ({"mode": "VALIDATED"}, "auto"),
        ({"mode": "MODE_UNSPECIFIED"}, None),
        ({}, None),
    ],
)
def test_modes_become_tool_choices(config: Any, expected: Any) -> None:
    trace = read(model(TEXT), toolConfig={"functionCallingConfig": config})
    assert trace.settings.get("tool_choice") == expected


def test_several_allowed_names_are_kept() -> None:
    config = {"mode": "ANY", "allowed_function_names": ["f", "g"]}
    trace = read(model(TEXT), tool_config={"function_calling_config": config})
    allowed = trace.settings["tool_choice"]["allowed_tools"]
    assert allowed["mode"] == "required"
    assert [tool["function"]["name"] for tool in allowed["tools"]] == ["f", "g"]


def test_one_allowed_name_that_need_not_be_called_is_no_demand() -> None:
    config = {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}
    trace = read(model(TEXT), toolConfig={"functionCallingConfig": config})
    assert trace.settings["tool_choice"]["allowed_tools"]["mode"] == "auto"


def test_a_declaration_keeps_only_what_it_says() -> None:
    declared = {"name": "f", "behavior": None, "parameters": {"type": "OBJECT"}, "response": None}
    trace = read(model(TEXT), tools=[{"function_declarations": [declared], "google_search": None}])
    assert trace.tools == (Tool({"name": "f", "parameters": {"type": "object"}}),)


@pytest.mark.parametrize(
    ("contents", "code", "place"),
    [
        (
            [user({"inlineData": {"data": ""}}), model(TEXT)],
            "unsupported_part",
            "contents[1].parts[0]",
        ),
        ([model({"executableCode": {"code": "1"}})], "unsupported_part", "executableCode"),
        ([model({"functionCall": 5})], "unsupported_part", "contents[1].parts[0]"),
        ([model({"functionCall": {}})], "call_without_name", "parts[0].functionCall"),
        ([model(CALL, TEXT)], "order_not_expressible", "contents[1].parts[1]"),
        ([model(TEXT, {"text": "hm", "thought": True})], "order_not_expressible", "parts[1]"),
        ([model({"text": 5})], "content_not_text", "contents[1].parts[0].text"),
        ([model()], "content_not_text", "contents[1]"),
        ([{"role": "model"}], "blocks_not_a_list", "contents[1].parts"),
        ([{"role": "system", "parts": [TEXT]}], "unknown_role", "contents[1].role"),
        ([response({"output": "1"})], "orphan_tool_result", "contents[1].parts[0]"),
        ([model(CALL), response(None)], "content_not_text", "functionResponse.response"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(
    contents: Any, code: str, place: str
) -> None:
    with pytest.raises(RowError) as caught:
        read(*contents)
    assert caught.value.code == code
    assert place in caught.value.reason


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"tools": [{"googleSearch": {}}]}, "unsupported_tool"),
        ({"tools": [{"functionDeclarations": [{"description": "d"}]}]}, "tool_without_name"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "invalid_tool_choice"),
        (
            {"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": [5]}}},
            "invalid_tool_choice",
        ),
    ],
)
def test_tools_of_the_server_and_unknown_modes_are_refused(row: Any, code: str) -> None:
    with pytest.raises(RowError) as caught:
        read(model(TEXT), **row)
    assert caught.value.code == code
