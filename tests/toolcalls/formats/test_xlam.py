from __future__ import annotations

import pytest

from tests.toolcalls.formats.json_ways import XLAM

GOOD = '{"name": "f", "arguments": {"x": [1]}}'


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (f"[TOOL_CALLS][{GOOD}]", ["ok"]),
        (f"[TOOL_CALLS] ```json\n[{GOOD}]\n```", ["ok"]),
        (f"<tool_call>[{GOOD}, {GOOD}]</tool_call>", ["ok", "ok"]),
        (f"<tool_call>{GOOD}</tool_call>", ["malformed"]),
        ("<tool_call>f()</tool_call>", ["malformed"]),
        ("[TOOL_CALLS]", ["unclosed"]),
        (f"```\n[{GOOD}]\n```", ["ok"]),
        (f"[{GOOD}", ["unclosed"]),
        ('[{"name": "f", "argu', ["unclosed"]),
        (f"[{GOOD}, {{", ["ok", "unclosed"]),
        (f'{{"tool_calls": [{GOOD}]', ["unclosed"]),
        (f'{{"tool_calls": [{GOOD}] x}}', ["invalid_json"]),
        ('{"tool_calls": [{}]}', ["missing_name"]),
    ],
)
def test_lists_are_read_wherever_they_stand(text, statuses):
    assert XLAM.statuses(f"{text}<|eot_id|>") == statuses


@pytest.mark.parametrize(
    "text",
    ["[]", "[]\n", "```json\n[]\n```", '{"tool_calls": []}', '{"thought": "", "tool_calls": []}'],
)
def test_an_empty_list_means_that_nothing_is_called(text):
    turn = XLAM.parse(text + "<|eot_id|>")
    assert (turn.calls, turn.content) == ((), "")


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f'{{"data": [{GOOD}]}}',
        "[1, 2]",
        '[{"name": "Alice"}]',
        '[{"name": "f", "arguments": 3}]',
        '```json\n[{"a": 1}]\n```',
    ],
)
def test_other_json_is_text(text):
    turn = XLAM.parse(text)
    assert (turn.calls, turn.content) == ((), text)


def test_the_thought_beside_calls_is_reasoning():
    turn = XLAM.parse(f'{{"thought": "I \\"see\\"", "tool_calls": [{GOOD}]}}')
    assert (turn.reasoning, turn.content) == ('I "see"', "")
    assert [(c.name, c.status) for c in turn.calls] == [("f", "ok")]
