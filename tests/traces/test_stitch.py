"""Requests stitched into conversations: every turn trained once, whatever was logged."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.traces import Message, Source, Tool, ToolCall, Trace
from tooltune.traces.groups import assign_groups
from tooltune.traces.stitch import answers_only, root_key, stitch

USER, SYSTEM = Message("user", "Weather?"), Message("system", "Be brief.")


def said(text: str, reasoning: str | None = None) -> Message:
    return Message("assistant", text, reasoning=reasoning)


GREETING = said("How can I help?")


def requests(*histories: tuple[Message, ...], **fields: object) -> list[Trace]:
    return [
        replace(Trace(messages), source=Source("log.jsonl", row), **fields)  # type: ignore[arg-type]
        for row, messages in enumerate(histories)
    ]


def weights(trace: Trace) -> list[float]:
    return [m.weight for m in trace.messages if m.role == "assistant"]


@dataclass(frozen=True)
class Log:
    """Requests of random session trees, each with the number of the session that made it."""

    rows: list[tuple[int, Trace]]

    @property
    def traces(self) -> list[Trace]:
        return [trace for _, trace in self.rows]


def bare(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(replace(m, reasoning=None, weight=1.0) for m in messages)


def talk(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(m for m in bare(messages) if m.role != "system")


@st.composite
def logs(draw: st.DrawFn, *, one_prompt: bool = False) -> Log:
    """Sessions that branch anywhere; clients drop reasoning; prompts and tools may change."""
    rows: list[tuple[int, Trace]] = []
    for session in range(draw(st.integers(1, 3))):
        opening = (Message("user", f"question {session}"),)
        if draw(st.booleans()):
            opening = (GREETING, *opening)
        histories = [opening]
        made: set[tuple[Message, ...]] = set()
        for turn in range(draw(st.integers(1, 6))):
            history = draw(st.sampled_from(histories))
            name = draw(st.sampled_from(["", "", "B"])) if not one_prompt else ""
            prompt = (Message("system", f"You are {name}."),) if name or one_prompt else ()
            tools = (Tool({"name": "f"}),) if not one_prompt and draw(st.booleans()) else ()
            calls = (ToolCall("f", {"x": turn}, id=f"call_{turn}"),) if draw(st.booleans()) else ()
            thought = draw(st.sampled_from([None, "Hm."]))
            answer = Message("assistant", draw(st.sampled_from("ab")), calls, reasoning=thought)
            if (path := bare((*history, answer))) in made:
                continue  # the same answer to the same history is the same turn
            made.add(path)
            rows.append((session, Trace((*prompt, *history, answer), tools)))
            reply = (
                Message("tool", "!", tool_call_id=calls[0].id) if calls else Message("user", ".")
            )
            histories.append((*path, reply))
    order = draw(st.permutations(range(len(rows))))
    placed = [
        (session, replace(trace, source=Source("log.jsonl", row)))
        for row, (session, trace) in zip(order, rows, strict=True)
    ]
    return Log(placed)


@given(logs())
def test_every_logged_turn_is_trained_once_under_its_own_prompt(log: Log) -> None:
    trained = Counter(
        (trace.tools, bare(trace.messages[: i + 1]))
        for trace in stitch(log.traces).traces
        for i in trace.turns
        if trace.messages[i].weight > 0
        and trace.messages[i].content != GREETING.content  # no request logged it
    )
    logged = Counter((trace.tools, bare(trace.messages)) for trace in log.traces)
    assert trained == logged


@given(logs(one_prompt=True))
def test_the_leaves_of_each_session_tree_come_back(log: Log) -> None:
    paths = [bare(trace.messages) for trace in log.traces]
    leaves = [p for p in paths if not any(len(o) > len(p) and o[: len(p)] == p for o in paths)]
    stitched = stitch(log.traces)
    assert sorted(map(repr, leaves)) == sorted(repr(bare(t.messages)) for t in stitched.traces)
    assert stitched.rows == len(log.traces) == len(leaves) + stitched.absorbed


@given(logs(), st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_a_division_by_root_matters(
    log: Log, shuffler: random.Random
) -> None:
    expected = stitch(log.traces).traces
    assert list(expected) == sorted(expected, key=lambda t: t.source.row if t.source else 0)
    shuffled = log.traces
    shuffler.shuffle(shuffled)
    assert stitch(shuffled).traces == expected
    parts = defaultdict(list)
    for trace in shuffled:
        parts[root_key(trace)].append(trace)
    pieces = [trace for part in parts.values() for trace in stitch(part).traces]
    assert sorted(pieces, key=lambda t: str(t.source)) == sorted(
        expected, key=lambda t: str(t.source)
    )


@given(logs())
def test_the_traces_of_a_session_share_their_group(log: Log) -> None:
    session_of = {trace.source: session for session, trace in log.rows}
    groups = defaultdict(set)
    for trace in assign_groups(stitch(log.traces).traces):
        groups[session_of[trace.source]].add(trace.group)
    assert all(len(names) == 1 for names in groups.values())


@given(logs(), st.data())
@settings(max_examples=50)
def test_of_a_sampled_log_every_turn_that_is_seen_is_trained(log: Log, data: st.DataObject) -> None:
    kept = data.draw(
        st.lists(st.sampled_from(log.traces), min_size=1, unique_by=lambda t: t.source)
    )
    seen, trained = set(), Counter[tuple[Message, ...]]()
    logged = {talk(trace.messages) for trace in kept}
    for trace in kept:
        seen |= {talk(trace.messages[: i + 1]) for i in trace.turns}
    for trace in stitch(kept).traces:
        for i in trace.turns:
            trained[talk(trace.messages[: i + 1])] += trace.messages[i].weight > 0
    assert {path for path, count in trained.items() if count} == seen
    assert all(count == 1 for path, count in trained.items() if path not in logged)


def test_a_session_of_three_requests_is_one_trace() -> None:
    call = Message("assistant", None, (ToolCall("f", {"a": 1, "b": 2}, id="1"),))
    result = Message("tool", "sunny", tool_call_id="1", name="f")
    turns = (SYSTEM, USER, call, result, said("Sunny."), USER, said("Still."))
    stitched = stitch(requests(turns[:3], turns, turns[:5]))
    assert [trace.messages for trace in stitched.traces] == [turns]
    assert (stitched.rows, stitched.absorbed, stitched.sessions) == (3, 2, 1)
    assert stitched.traces[0].source == Source("log.jsonl", 1)


def test_reasoning_that_the_client_dropped_is_put_back() -> None:
    first = (USER, said("a", "I think so."))
    second = (USER, said("a"), USER, said("b", "Sure."))
    (trace,) = stitch(requests(first, second)).traces
    assert [m.reasoning for m in trace.messages] == [None, "I think so.", None, "Sure."]
    assert trace.id == trace.content_id == Trace(trace.messages).content_id


def test_spellings_of_the_same_message_are_the_same() -> None:
    first = (USER, Message("assistant", None, (ToolCall("f", {"a": 1, "b": 2}, id="1"),)))
    again = Message("assistant", "", (ToolCall("f", {"b": 2, "a": 1}, id="1"),))
    result = Message("tool", "", tool_call_id="1")
    assert len(stitch(requests(first, (USER, again, result, said("!")))).traces) == 1


def test_other_calls_are_other_turns() -> None:
    one = (USER, Message("assistant", None, (ToolCall("f", {"a": 1}, id="1"),)))
    other = (USER, Message("assistant", None, (ToolCall("f", {"a": True}, id="1"),)))
    assert len(stitch(requests(one, other)).traces) == 2


def test_a_retry_is_a_leaf_whose_history_is_context() -> None:
    start = (USER, said("a"), USER)
    first, second = stitch(requests((*start, said("b")), (*start, said("c")))).traces
    assert (weights(first), weights(second)) == ([1.0, 1.0], [0.0, 1.0])
    assert first.group == second.group


def test_a_changed_system_prompt_trains_each_turn_under_its_own() -> None:
    later = Message("system", "It is noon.")
    rows = requests((SYSTEM, USER, said("a")), (later, USER, said("a"), USER, said("b")))
    first, second = stitch(rows).traces
    assert (weights(first), weights(second)) == ([1.0], [0.0, 1.0])
    assert first.group == second.group


def test_turns_of_the_same_words_under_two_prompts_are_both_trained() -> None:
    rows = requests((SYSTEM, USER, said("a")), (USER, said("a")))
    assert [weights(trace) for trace in stitch(rows).traces] == [[1.0], [1.0]]


def test_settings_tell_requests_apart() -> None:
    forced = Trace((USER, said("a")), settings={"tool_choice": "required"})
    free = Trace((USER, said("a"), USER, said("b")), settings={"tool_choice": "auto"})
    first, second = stitch([forced, free]).traces
    assert {tuple(weights(first)), tuple(weights(second))} == {(1.0,), (0.0, 1.0)}


LONG = "It is sunny in Rome today, and warm as well."


@pytest.mark.parametrize("what", ["result cut", "ids renamed", "order of results"])
def test_a_turn_logged_before_the_client_altered_the_history_is_trained_once(what: str) -> None:
    calls = (ToolCall("f", {"x": 1}, id="1"), ToolCall("f", {"x": 2}, id="2"))
    asked = (USER, Message("assistant", None, calls))
    results = (Message("tool", "a" * 99, tool_call_id="1"), Message("tool", "b", tool_call_id="2"))
    altered_calls, altered = asked, results
    if what == "result cut":
        altered = (replace(results[0], content="aa [cut]"), results[1])
    elif what == "order of results":
        altered = results[::-1]
    else:
        renamed = tuple(replace(call, id=f"call_{call.id}") for call in calls)
        altered_calls = (USER, Message("assistant", None, renamed))
        altered = tuple(replace(m, tool_call_id=f"call_{m.tool_call_id}") for m in results)
    first = (*asked, *results, said(LONG))
    second = (*altered_calls, *altered, said(LONG), USER, said("Still."))
    rows = requests(asked, first, second)
    trained = Counter[tuple[str | None, int]]()
    for trace in stitch(rows).traces:
        for message in trace.messages:
            if message.role == "assistant" and message.weight:
                trained[message.content, len(message.tool_calls)] += 1
    assert trained == {(None, 2): 1, (LONG, 0): 1, ("Still.", 0): 1}


def test_a_short_answer_may_be_said_again_after_another_history() -> None:
    rows = requests((USER, said("a"), USER, said("Done.")), (USER, said("Done."), USER, said("c")))
    assert [weights(trace) for trace in stitch(rows).traces] == [[1.0, 1.0], [1.0, 1.0]]


def test_a_named_session_stays_the_group() -> None:
    rows = requests((USER, said("a")), (USER, said("b")), group="session:7")
    assert {trace.group for trace in stitch(rows).traces} == {"session:7"}


def test_copies_of_a_request_are_absorbed() -> None:
    rows = requests(*[(USER, said("a"))] * 3)
    stitched = stitch(rows)
    assert stitched.traces == (replace(rows[0], group=stitched.traces[0].group),)
    assert stitched.absorbed == 2


def test_an_assistant_that_opens_the_conversation_does_not_hide_its_root() -> None:
    greeting = said("Hello!")
    rows = requests((SYSTEM, greeting), (SYSTEM, greeting, USER, said("a")))
    assert root_key(rows[0]) == root_key(rows[1])
    (trace,) = stitch(rows).traces
    assert weights(trace) == [1.0, 1.0]


def test_a_long_session_is_one_trace() -> None:
    turns: tuple[Message, ...] = ()
    rows = []
    for i in range(150):
        turns = (*turns, Message("user", f"{i}"), said("a"))
        rows.append(Trace(turns, source=Source("log.jsonl", i)))
    (trace,) = stitch(rows).traces
    assert weights(trace) == [1.0] * 150


def test_a_turn_has_the_weight_of_the_request_that_logged_it() -> None:
    first = replace(Trace((USER, said("a"))), weight=0.5)
    later = Trace((USER, said("a"), USER, said("b"), USER, said("c")), weight=2.0)
    (trace,) = stitch([first, later]).traces
    assert (trace.weight, weights(trace)) == (1.0, [0.5, 2.0, 2.0])
    (trace,) = stitch([replace(first, weight=2.0), later]).traces
    assert (trace.weight, weights(trace)) == (2.0, [1.0, 1.0, 1.0])


def test_of_requests_chosen_one_by_one_only_the_answers_are_trained() -> None:
    turns = (USER, said("a"), USER, said("b"), USER, said("c"), USER, said("d"))
    chosen = [answers_only(trace) for trace in requests(turns[:4], turns)]
    (trace,) = stitch(chosen).traces
    assert weights(trace) == [0.0, 1.0, 0.0, 1.0]
    assert trace.group == stitch(requests(turns)).traces[0].group
    assert answers_only(requests(turns, group="session:1")[0]).group == "session:1"


def test_nothing_stitches_to_nothing() -> None:
    assert stitch([]).traces == ()
