from __future__ import annotations

import pytest

from tests.toolcalls.formats.json_ways import COHERE, COMMAND_R, write_command_r

GOOD = '{"tool_call_id": "0", "tool_name": "f", "parameters": {"x": [1]}}'


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (f"<|START_ACTION|>{GOOD}<|END_ACTION|>", ["ok"]),
        (f"<|START_ACTION|>[{GOOD}]", ["unclosed"]),
        (f"<|START_ACTION|>[{GOOD}] x<|END_ACTION|>", ["invalid_json"]),
        (f"<|START_ACTION|>[{GOOD}<|END_ACTION|>", ["invalid_json"]),
        ('<|START_ACTION|>[{"name": "f", "parameters": {}}]<|END_ACTION|>', ["missing_name"]),
        ("<|START_ACTION|>[]<|END_ACTION|>", ["malformed"]),
        ("<|START_ACTION|>", ["unclosed"]),
        ("<|START_ACTION|>f()<|END_ACTION|>", ["malformed"]),
        (f"Plan: look.\nAction:```json\n[{GOOD}]\n```", ["ok"]),
        (f"Action: ```\n[{GOOD}]```", ["ok"]),
        (f"Action: ```json\n[{GOOD}]", ["unclosed"]),
        ("Action: jump!", []),
    ],
)
def test_actions_end_as_their_grammar_says(text, statuses):
    assert COHERE.statuses(f"{text}<|END_OF_TURN_TOKEN|>") == statuses


@pytest.mark.parametrize("kind", ["RESPONSE", "TEXT"])
def test_the_markers_of_the_answer_are_no_content(kind):
    turn = COHERE.parse(
        f"<|START_THINKING|>Hm.<|END_THINKING|><|START_{kind}|>Hello.<|END_{kind}|>"
        "<|END_OF_TURN_TOKEN|>"
    )
    assert (turn.reasoning, turn.content, turn.calls) == ("Hm.", "Hello.", ())


@pytest.mark.parametrize("name", ["directly-answer", "directly_answer"])
def test_the_tool_that_answers_directly_is_no_call(name):
    text = write_command_r([(name, {})], False)
    turn = COMMAND_R.parse(text)
    assert turn.calls == ()
    assert name in turn.content
    assert [c.status for c in COMMAND_R.parse(text, [{"name": name}]).calls] == ["ok"]
    both = COMMAND_R.parse(write_command_r([(name, {}), ("f", {})], False))
    assert [c.name for c in both.calls] == ["f"]
