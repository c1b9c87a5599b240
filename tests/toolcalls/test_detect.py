"""The family of a text that nobody declared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolcalls.families import tools_for
from tests.toolcalls.ways import WAYS
from tooltune.toolcalls import parse_turn
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.parse import FORMATS

READ_BY_ANOTHER = {
    "llama3_bare": "bare_json",
    "hermes_list": "hermes",
    "granite3_1": "granite3",
    "xlam_tagged": "hermes",
    "gemma3, a list": "pythonic",
}
"""Ways of writing that two families share: detection names the other, and the calls are equal."""


@pytest.mark.parametrize("way", WAYS)
def test_a_turn_with_calls_is_read_by_its_family_or_one_that_reads_the_same(way: str) -> None:
    for calls in ([("f", {"x": 1}), ("g", {})], [("f", {"x": "a b"})]):
        turn = parse_turn(WAYS[way].before + WAYS[way].write(calls))
        assert [(c.name, c.arguments, c.status) for c in turn.calls] == [(*c, "ok") for c in calls]
        assert turn.content == "Let me look."
        assert turn.format == READ_BY_ANOTHER.get(way, WAYS[way].format)


@pytest.mark.parametrize("way", WAYS)
def test_texts_with_calls_show_one_of_the_markers_of_their_format(way: str) -> None:
    markers = FORMATS[WAYS[way].format].markers
    text = WAYS[way].write([("f", {"x": 1})])
    assert WAYS[way].is_bare or not markers or any(marker in text for marker in markers)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25)
@given(data=st.data())
def test_calls_are_found_whatever_their_strings_hold(way: str, data: Any) -> None:
    calls = data.draw(WAYS[way].calls)
    turn = parse_turn(WAYS[way].write(calls), tools=tools_for(calls))
    assert [(call.name, call.status) for call in turn.calls] == [(name, "ok") for name, _ in calls]
    for call, (_, arguments) in zip(turn.calls, calls, strict=True):
        assert json_equal(call.arguments, arguments)


NO_CALLS = [
    "",
    "The weather in Rome is fine: 21 °C.",
    "I cannot do that; there is no such tool.",
    '{"name": "Alice", "age": 3}',
    '{"name": "Alice", "parameters": {"type": "object", "properties": {}}}',
    '{"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}',
    '[{"name": "Alice", "age": 3}, {"name": "Bob", "age": 4}]',
    '{"tool_calls": []}',
    "[]",
    "{}",
    "[1, 2, 3]",
    "null",
    '```json\n{"city": "Rome", "days": [1, 2]}\n```',
    '```json\n[{"id": 1, "title": "A"}]\n```',
    "```yaml\nname: f\narguments:\n  x: 1\n```",
    "```python\nimport os\n\n\ndef f(x):\n    return [g(x) for x in os.listdir()]\n```",
    "```python\nprint(f(1))\n```",
    '```python\ndf = load("a.csv")\nprint(df.head())\n```',
    '```sh\ncurl -X POST https://a.b/c -d \'{"name": "f"}\'\n```',
    "```js\nconst a = [f(1), g({b: 2})];\n```",
    '```html\n<form><input name="x"></form>\n```',
    '```xml\n<function name="f"><arg>1</arg></function>\n```',
    "`f(x=1)` sets x, and `g()` does not.",
    "See [the docs](https://a.b/f(x=1)) and [f(x)](https://a.b).",
    "The list [sin(x), cos(x)] holds two functions.",
    "| name | arguments |\n|---|---|\n| f | {} |",
    "# Actions\n\n1. Action: look it up\n2. Action: answer",
    "def f(x: int = 1) -> list[int]: ...",
    "functools.partial(f, 1) and functools.reduce(g, [1])",
    "a < b > c, <b>bold</b>, <name>f</name>",
    "<think>Shall I call f?</think>No.",
    'He said: "Call {name} with {arguments}."',
    "\\begin{align} f(x) &= [a, b] \\end{align}",
    "Use the tool `f` with the arguments x = 1 and y = 2.",
]


@pytest.mark.parametrize("text", NO_CALLS)
@pytest.mark.parametrize("tools", [None, [{"name": "get_weather"}]])
def test_text_code_and_data_hold_no_calls(text: str, tools: Any) -> None:
    for mode in ("strict", "recover"):
        turn = parse_turn(text, None, tools, mode)  # type: ignore[arg-type]
        assert (turn.calls, turn.format) == ((), None)
