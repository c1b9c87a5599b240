"""Conversation groups: connected by what the overlap guard compares, and by sessions."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tooltune.traces import Message, ToolCall, Trace, check_overlap, split_traces
from tooltune.traces.groups import assign_groups, group_names
from tooltune.traces.identity import Keyed, TraceKey, key_of

# Few values, so that copies, folded copies and shared sessions are frequent.
QUESTIONS = st.sampled_from(["What time?", " what TIME? ", "Where?", "Zürich", "zu\u0308rich", ""])
SESSIONS = st.sampled_from(["", "", "", "session:1", "session:2", "session:3"])


@st.composite
def conversations(draw: st.DrawFn) -> Trace:
    calls = (ToolCall("f", {"x": draw(st.integers(0, 1))}),) if draw(st.booleans()) else ()
    answer = Message("assistant", draw(st.sampled_from("ab")), calls)
    return Trace((Message("user", draw(QUESTIONS)), answer), group=draw(SESSIONS))


TRACES = st.lists(conversations(), max_size=20)


def numbered(traces: list[Trace]) -> list[Trace]:
    return [replace(trace, id=f"{trace.id}-{i}") for i, trace in enumerate(traces)]


def linked(one: Keyed, other: Keyed) -> bool:
    return (
        one.content_id == other.content_id
        or one.group == other.group
        or (one.fingerprint is not None and one.fingerprint == other.fingerprint)
    )


def components(keys: list[Keyed]) -> set[frozenset[int]]:
    """The oracle: grow each component until nothing more is linked to it."""
    found, left = set(), set(range(len(keys)))
    while left:
        component = {left.pop()}
        while more := {i for i in left if any(linked(keys[i], keys[j]) for j in component)}:
            component |= more
            left -= more
        found.add(frozenset(component))
    return found


@given(TRACES)
def test_groups_are_the_connected_components(traces: list[Trace]) -> None:
    members = defaultdict(set)
    for i, trace in enumerate(assign_groups(traces)):
        members[trace.group].add(i)
    assert {frozenset(m) for m in members.values()} == components([key_of(t) for t in traces])


@given(TRACES, st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_split_by_the_default_groups_never_trips_the_guard(
    traces: list[Trace], fraction: float, seed: int
) -> None:
    traces = numbered(traces)
    grouped = assign_groups(traces)
    if len({trace.group for trace in grouped}) < 2:
        return
    train, held_out = split_traces(grouped, fraction, seed)
    assert check_overlap(train, held_out) == []
    held = {trace.id for trace in held_out}
    sides = defaultdict(set)
    for trace in traces:
        sides[trace.group].add(trace.id in held)
    assert all(len(side) == 1 for name, side in sides.items() if name.startswith("session:"))


@given(TRACES, st.randoms(use_true_random=False))
def test_the_names_do_not_depend_on_the_order(traces: list[Trace], shuffler: random.Random) -> None:
    traces = numbered(traces)
    expected = {trace.id: trace.group for trace in assign_groups(traces)}
    shuffler.shuffle(traces)
    assert {trace.id: trace.group for trace in assign_groups(traces)} == expected


@given(TRACES)
def test_grouping_again_changes_nothing(traces: list[Trace]) -> None:
    once = assign_groups(traces)
    assert assign_groups(once) == once


def test_a_long_chain_is_one_group() -> None:
    keys = [TraceKey(str(i), f"g{i // 2}", f"c{(i + 1) // 2}", None) for i in range(20_000)]
    assert len(set(group_names(keys))) == 1


def test_a_group_is_not_mistaken_for_a_content_id() -> None:
    keys = [TraceKey("a", "x", "y", None), TraceKey("b", "y", "z", "x")]
    assert len(set(group_names(keys))) == 2
