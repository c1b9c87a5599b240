from __future__ import annotations

import pytest

from tests.toolcalls.formats.json_ways import GRANITE3

GOOD = '{"name": "f", "arguments": {"x": [1]}}'


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (f"<|tool_call|><tool_call>[{GOOD}]", ["ok"]),
        (f"<tool_call>[{GOOD}]</tool_call>", ["ok"]),
        (f"<tool_call>{GOOD}</tool_call>", ["ok"]),
        (f"<tool_call>{GOOD}", ["unclosed"]),
        (f"<|tool_call|>[{GOOD}, {GOOD}", ["ok", "unclosed"]),
        ("<|tool_call|>[]", ["malformed"]),
        ("<|tool_call|>f(x=1)", ["malformed"]),
        ("<|tool_call|>", ["unclosed"]),
    ],
)
def test_lists_need_no_closer_and_objects_do(text, statuses):
    assert GRANITE3.statuses(f"{text}<|end_of_text|>") == statuses


def test_text_behind_a_list_is_content():
    assert GRANITE3.parse(f"<|tool_call|>[{GOOD}] Done.").content == "Done."


@pytest.mark.parametrize("phrase", ["Here is", "Here's"])
def test_the_phrases_of_granite_3_2_part_reasoning_from_answer(phrase):
    call = f"<|tool_call|>[{GOOD}]"
    turn = GRANITE3.parse(
        f"{phrase} my thought process: Is it {call}?\n{phrase} my response: Yes. {call}"
    )
    assert turn.reasoning == f"Is it {call}?"
    assert (turn.content, [c.status for c in turn.calls]) == ("Yes.", ["ok"])
    text = f"Sure. {phrase} my response: Yes."
    assert (GRANITE3.parse(text).content, GRANITE3.parse(text).reasoning) == (text, None)


def test_the_response_tags_of_granite_3_3_are_no_content():
    turn = GRANITE3.parse("<think>Hm.</think>\n<response>A <b>.</response><|end_of_text|>")
    assert (turn.reasoning, turn.content) == ("Hm.", "A <b>.")
