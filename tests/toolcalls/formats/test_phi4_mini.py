from __future__ import annotations

import pytest

from tests.toolcalls.formats.json_ways import PHI4_MINI

GOOD = '{"name": "f", "arguments": {"x": [1]}}'


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (f"<|tool_call|>{GOOD}<|/tool_call|><|tool_call|>{GOOD}<|/tool_call|>", ["ok", "ok"]),
        (f"<|tool_calls|>[{GOOD}, {GOOD}]<|/tool_calls|>", ["ok", "ok"]),
        (f"<|tool_call|>[{GOOD}]", ["unclosed"]),
        (f"<|tool_call|>[{GOOD}] x<|/tool_call|>", ["invalid_json"]),
        (f"<|tool_call|>[{GOOD}<|/tool_call|>", ["invalid_json"]),
        ("<|tool_call|>f(x=[1])<|/tool_call|>", ["malformed"]),
        ("<|tool_call|>", ["unclosed"]),
        (f"functools [{GOOD}]", ["ok"]),
        (f"functools[{GOOD}, {GOOD}", ["ok", "unclosed"]),
        ("functools[", ["unclosed"]),
        ("functools[]", ["malformed"]),
    ],
)
def test_both_forms_end_as_their_grammar_says(text, statuses):
    assert PHI4_MINI.statuses(f"Hm. {text}<|end|>") == statuses


@pytest.mark.parametrize(
    "text", ["Use functools.", "functools[0]", "my_functools[{}]", "functools"]
)
def test_the_module_of_that_name_is_prose(text):
    turn = PHI4_MINI.parse(text)
    assert (turn.calls, turn.content) == ((), text)
