from __future__ import annotations

import ast
import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.strategies import json_values
from tooltune.traces import RowError, ToolCall
from tooltune.traces.formats.shared.python_calls import ToolNames, looks_like_calls, parse_calls

NAMES = ["get_time", "Market Trends API", "math.factorial", "v1/search-all", "Search (v2)", "météo"]
KEYS = ["x", "max-results", "start date", "from", "a.b", "größe"]
OFFERED = ToolNames.of(NAMES)


def write(calls: list[ToolCall]) -> str:
    """Calls as a Python list of keyword calls, values as Python prints them."""
    texts = [
        f"{call.name}({', '.join(f'{key}={value!r}' for key, value in thawed(call).items())})"
        for call in calls
    ]
    return f"[{', '.join(texts)}]"


def thawed(call: ToolCall) -> dict[str, Any]:
    arguments: dict[str, Any] = call.to_openai()["function"]["arguments"]
    return arguments


def call_lists() -> st.SearchStrategy[list[ToolCall]]:
    arguments = st.dictionaries(st.sampled_from(KEYS), json_values(), max_size=3)
    return st.lists(st.builds(ToolCall, st.sampled_from(NAMES), arguments), min_size=1, max_size=3)


def one(text: str) -> Any:
    """The value of `[f(x=...)]`."""
    ((call,), name) = parse_calls(f"[f(x={text})]", "here"), "x"
    return thawed(call)[name]


@given(call_lists())
def test_calls_written_as_python_are_read_back_exactly(calls: list[ToolCall]) -> None:
    text = write(calls)
    assert looks_like_calls(text, OFFERED)
    read = parse_calls(text, "here", OFFERED)
    assert read == tuple(calls)
    assert [json.dumps(thawed(call)) for call in read] == [json.dumps(thawed(c)) for c in calls]


@given(st.text(alphabet="[]{}()=,:\"'\\fx1.-eTNn \nu", max_size=30))
def test_any_text_is_a_call_list_or_rejected(text: str) -> None:
    for candidate in (text, f"[f(x={text})]", f"[{text}(x=1)]"):
        looks_like_calls(candidate, OFFERED)
        with suppress(RowError):
            assert parse_calls(candidate, "here", OFFERED)


@pytest.mark.filterwarnings("ignore:.*invalid escape")
@given(st.text(alphabet="abc\"'\\\nxu01{}N\x07é ", max_size=12), st.sampled_from(['"', "'", '"""']))
def test_a_text_literal_means_what_python_reads(body: str, quote: str) -> None:
    literal = f"{quote}{body}{quote}"
    try:
        expected = ast.literal_eval(literal)
    except (SyntaxError, ValueError):
        return
    with suppress(RowError):  # names of characters, which Python reads and we refuse
        assert one(literal) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1.50", -1.5),
        ("1e3", 1000.0),
        ("True", True),
        ("null", None),
        ("false", False),
        ("'it\\'s'", "it's"),
        ('"line\nend"', "line\nend"),
        ('"\\u00e9\\x41\\101\\d"', "éAA\\d"),
        ("(1, 2)", [1, 2]),
        ("(1,)", [1]),
        ("(1)", 1),
        ("[1, [2,], {'a': {}}]", [1, [2], {"a": {}}]),
        ('")] , [g("', ")] , [g("),
    ],
)
def test_python_and_json_literals_are_read(text: str, value: Any) -> None:
    assert one(text) == value
    assert type(one(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[f(x=open('a'))]", "invalid_call"),
        ("[f(x=y)]", "invalid_call"),
        ("[f(x=1+1)]", "invalid_call"),
        ("[f(x=2024-01-01)]", "invalid_call"),
        ("[f(x=007)]", "invalid_call"),
        ("[f(x={1, 2})]", "invalid_call"),
        ("[f(x={1: 2})]", "invalid_call"),
        ("[f(x=f'a')]", "invalid_call"),
        ("[f(1)]", "invalid_call"),
        ("[f(**{'x': 1})]", "invalid_call"),
        ("[f(x=1)", "invalid_call"),
        ("[f(x=1)] and more", "invalid_call"),
        ("[f(x=1) g(x=2)]", "invalid_call"),
        ("[f(x='a)]", "invalid_call"),
        ("[]", "invalid_call"),
        ("f(x=1)", "invalid_call"),
        ("[(x=1)]", "invalid_call"),
        ("[f(x=1, x=2)]", "duplicate_key"),
        ("[f(x={'a': 1, 'a': 2})]", "duplicate_key"),
        ("[f(x=1e999)]", "non_finite_number"),
        ("[f(x=" + "9" * 5000 + ")]", "number_too_long"),
        ("[f(x='\\0')]", "nul_character"),
        ("[f(x='\\ud83d')]", "lone_surrogate"),
        ("[f(x='\\xZZ')]", "invalid_escape"),
        ("[f(x='\\U99999999')]", "invalid_escape"),
        ("[f(x=" + "[" * 5000 + ")]", "too_deep"),
        ("[f(x=" + "{'a':" * 5000 + ")]", "too_deep"),
    ],
)
def test_what_is_no_literal_call_is_refused_with_its_place(text: str, code: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_calls(text, "turn 3", OFFERED)
    assert caught.value.code == code
    assert "turn 3" in caught.value.reason


def test_only_a_claimed_call_list_looks_like_one() -> None:
    offered = ToolNames.of(["Search", "Search (v2)"])
    for text in ("[f(x=1)]", " [f()] ", "[ f ( ) , ]", "[Search(x=", "[Search (v2)(x="):
        assert looks_like_calls(text, offered), text
    for text in ("", "[]", "I call [f(x=1)]", "[1, 2]", "[see](url)", "[f(x=1)] is how", '["f("]'):
        assert not looks_like_calls(text, offered), text


@pytest.mark.parametrize(
    "text",
    [
        "[" + "f(x=(1)), " * 30_000 + "]",
        "[f(x=[" + '"", ' * 100_000 + '"""',
        "[" + "g(" * 100_000,
        "[" + "Search (" * 30_000,
        "[f(" + "x" * 300_000 + ")]",
        "[f(x='" + "\\" * 300_000 + ")]",
        "[f(x=" + " " * 300_000 + ")]",
        "[" + "," * 300_000,
    ],
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    started = time.process_time()
    with suppress(RowError):
        parse_calls(text, "here", OFFERED)
    assert time.process_time() - started < 5
