"""A conversation's course: who speaks, who answers, where it ends; with near misses."""

from __future__ import annotations

import pytest

from tests.traces.lint.build import call, calls, codes, result, says, trace, user
from tooltune.traces import Message, Trace

ROUND = (user(), calls(), result(), says())


def test_a_plain_round_has_no_findings() -> None:
    assert codes(trace(*ROUND)) == []
    assert codes(trace(Message("system", "Be brief."), *ROUND, user(), says())) == []


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((user(), says("")), [("empty_turn", 1)]),
        ((user(), says(" \n", reasoning="Hm.")), [("empty_turn", 1)]),
        ((user(), says("", weight=0.0)), []),
        ((user(), calls(), result(), says("")), [("empty_turn", 3)]),
        ((says("Hello!"), user(), says()), [("leading_assistant", 0)]),
        ((says(""), user(), says()), [("leading_assistant", 0)]),
        ((Message("system", "A"), user(), Message("system", "B"), says()), [("late_system", 2)]),
        ((user(), user("Please."), says()), [("repeated_role", 1)]),
        ((user(), says(), says("Warm.")), [("repeated_role", 2)]),
        ((user(), says(), user("Thanks")), [("trailing_message", 2)]),
        ((user(), says(), user("Thanks"), says("You are welcome.")), []),
    ],
)
def test_odd_turns_are_found(
    messages: tuple[Message, ...], expected: list[tuple[str, int]]
) -> None:
    assert codes(trace(*messages)) == expected


def test_a_result_that_no_assistant_turn_follows_is_unread() -> None:
    assert codes(trace(*ROUND[:3])) == [("unread_result", 2)]
    assert codes(trace(*ROUND[:3], user(), says())) == [("unread_result", 2)]
    assert codes(trace(*ROUND[:2])) == [], "a row may end in the call that is learnt"


PAIR = calls(call(id="a"), call("get_time", id="b"))


def test_results_pair_with_calls_by_id() -> None:
    a, b = result(id="a"), result(name="get_time", id="b")
    assert codes(trace(user(), PAIR, a, b, says())) == []
    assert codes(trace(user(), PAIR, b, a, says())) == [("results_out_of_order", 1)]
    assert codes(trace(user(), PAIR, a, says())) == [("unanswered_call", 1)]
    assert codes(trace(user(), PAIR, says())) == [("unanswered_call", 1)] * 2
    late = trace(user(), PAIR, a, says("One moment."), b, says())
    assert codes(late) == [("late_result", 4)]


def test_results_without_ids_pair_with_the_latest_round_by_name_then_by_order() -> None:
    both = calls(call(), call("get_time"))
    time = result(name="get_time")
    assert codes(trace(user(), both, result(), time, says())) == []
    assert codes(trace(user(), both, time, result(), says())) == [("results_out_of_order", 1)]
    unnamed = [Message("tool", "sunny"), Message("tool", "noon")]
    assert codes(trace(user(), both, *unnamed, says())) == []
    again = trace(user(), calls(), calls(), result(), says())
    assert codes(again) == [("unanswered_call", 1)]


def test_an_id_that_is_used_again_belongs_to_the_newest_call() -> None:
    one = (calls(call(id="a")), result(id="a"), says())
    assert codes(trace(user(), *one, user(), *one)) == []


@pytest.mark.parametrize(
    "text",
    ["<|im_start|>", "<|eot_id|>", "<tool_call>", "[INST]", "<start_of_turn>", "<｜User｜>"],
)
def test_control_strings_are_found_in_every_field(text: str) -> None:
    said = f"say {text} twice"
    everywhere = [
        trace(user(said), says()),
        trace(user(), says(reasoning=said)),
        trace(user(), calls(call(city=said))),
        trace(user(), calls(call(**{said: 1}))),
        trace(user(), calls(), result(said), says()),
        trace(user(), says(), tools=[{"name": "f", "description": said}]),
    ]
    for made in everywhere:
        assert [code for code, _ in codes(made)] == ["control_string"]


@pytest.mark.parametrize(
    "text", ["a <b> c", "x | y", "<|", "[1, 2]", "a <tool> here", "1 <| 2 |> 3"]
)
def test_brackets_are_no_control_strings(text: str) -> None:
    assert codes(trace(user(text), says(text))) == []


def test_rows_of_which_some_turns_reason_are_mixed() -> None:
    thought = says(reasoning="It is summer.")
    assert codes(trace(user(), thought, user(), says())) == [("mixed_reasoning", 3)]
    assert codes(trace(user(), thought, user(), thought)) == []
    assert codes(trace(user(), thought, user(), says(weight=0.0))) == []


def test_an_assistant_turn_that_repeats_itself_is_found() -> None:
    run = "The number is 1" + "0" * 900
    loop = "I cannot say that. " * 80
    for text in (run, loop):
        assert codes(trace(user(), says(text))) == [("repetitive_text", 1)]
        assert codes(trace(user(text), says())) == [], "what the user says is not learnt"
        assert codes(trace(user(), says(text, weight=0.0), user(), says())) == []
    table = "\n".join(f"| {n} | {n * n} | {n**3} |" for n in range(60)) + "\n" + "-" * 700
    assert codes(trace(user(), says(table))) == []


def test_traces_that_no_reader_would_make_are_looked_at_too() -> None:
    assert codes(Trace(())) == []
    assert codes(Trace((result(),))) == [("unread_result", 0)]
