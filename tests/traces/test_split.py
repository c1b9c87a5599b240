"""Splits by group, overlap, and the split file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.errors import UserError
from tooltune.traces import (
    Message,
    Source,
    ToolCall,
    Trace,
    apply_split,
    check_overlap,
    overlaps,
    read_split,
    split_traces,
    write_split,
)
from tooltune.traces.groups import assign_groups
from tooltune.traces.identity import TraceKey, key_of


def trace(question: str, answer: str = "!", *, row: int = 0, **arguments: object) -> Trace:
    calls = (ToolCall("f", arguments),) if arguments else ()
    messages = (Message("user", question), Message("assistant", answer, calls))
    return Trace(messages, source=Source("a.jsonl", row))


def in_groups(sizes: list[int]) -> list[Trace]:
    """Traces of which those of a group differ in their answers only."""
    return assign_groups(
        trace(f"question {group}", str(i)) for group, size in enumerate(sizes) for i in range(size)
    )


SIZES = st.lists(st.integers(1, 4), min_size=2, max_size=30)
FRACTIONS = st.floats(0.01, 0.99)


@given(SIZES, FRACTIONS, st.integers(0, 99))
def test_every_trace_is_on_one_side_with_its_whole_group(
    sizes: list[int], fraction: float, seed: int
) -> None:
    traces = in_groups(sizes)
    train, held_out = split_traces(traces, fraction, seed)
    assert train
    assert held_out
    assert {t.group for t in train}.isdisjoint(t.group for t in held_out)
    assert sorted(t.id for t in train + held_out) == sorted(t.id for t in traces)
    assert not overlaps(train, held_out)


@given(SIZES, FRACTIONS, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_rows(
    sizes: list[int], fraction: float, shuffler: random.Random
) -> None:
    traces = in_groups(sizes)
    expected = {t.id for t in split_traces(traces, fraction)[1]}
    shuffler.shuffle(traces)
    train, held_out = split_traces(traces, fraction)
    assert {t.id for t in held_out} == expected
    order = {t.id: i for i, t in enumerate(traces)}
    assert [order[t.id] for t in train] == sorted(order[t.id] for t in train)


def test_the_share_held_out_is_the_one_asked_for() -> None:
    for fraction in (0.1, 0.25, 0.5):
        train, held_out = split_traces(in_groups([1] * 100), fraction)
        assert (len(train), len(held_out)) == (100 - 100 * fraction, 100 * fraction)


@given(st.permutations([40, *[1] * 60]), st.integers(0, 20))
def test_a_large_group_does_not_take_over_the_held_out_side(sizes: list[int], seed: int) -> None:
    assert len(split_traces(in_groups(sizes), 0.1, seed)[1]) == 10


def test_each_side_keeps_a_group_whatever_the_fraction() -> None:
    for fraction in (0.001, 0.999):
        train, held_out = split_traces(in_groups([3, 3]), fraction)
        assert (len(train), len(held_out)) == (3, 3)


def test_the_seed_chooses_the_groups() -> None:
    traces = in_groups([1] * 50)
    ids = [frozenset(t.id for t in split_traces(traces, 0.2, seed)[1]) for seed in range(4)]
    assert len(set(ids)) == 4


def test_what_cannot_be_split_is_an_error() -> None:
    for traces in ([], in_groups([5])):
        with pytest.raises(UserError, match="cannot be split"):
            split_traces(traces, 0.1)
    for fraction in (0.0, 1.0, -1.0, 2.0, float("nan")):
        with pytest.raises(UserError, match="fraction"):
            split_traces(in_groups([1, 1]), fraction)


def test_overlap_is_found_exact_and_normalised() -> None:
    train = [trace("What time?", row=3, city="Bern"), trace("Hi", row=4)]
    same, alike = (
        trace("What time?", row=0, city="Bern"),
        trace(" what TIME?", "?", row=1, city="Bern"),
    )
    other_call, other_text = trace("What time?", row=2, city="Basel"), trace("What?", city="Bern")
    found = overlaps(train, [other_call, same, other_text, alike])
    assert [(o.train, o.held_out, o.kind) for o in found] == [
        (train[0], same, "exact"),
        (train[0], alike, "normalised"),
    ]


@given(SIZES, FRACTIONS)
def test_keys_stand_for_their_traces(sizes: list[int], fraction: float) -> None:
    traces = in_groups(sizes)
    keys = [key_of(trace) for trace in traces]
    sides, key_sides = split_traces(traces, fraction), split_traces(keys, fraction)
    assert key_sides == tuple([key_of(trace) for trace in side] for side in sides)
    ids = [key.id for key in key_sides[1]]
    assert apply_split(keys, ids) == key_sides
    assert [str(overlap) for overlap in overlaps(keys, keys[:2])] == [
        str(overlap) for overlap in overlaps(traces, traces[:2])
    ]
    assert all(isinstance(key, TraceKey) and key_of(key) is key for key in keys)


def test_true_and_one_are_different_arguments() -> None:
    assert not overlaps([trace("?", "a", x=True)], [trace("?", "b", x=1)])


def test_the_order_of_arguments_does_not_hide_an_overlap() -> None:
    assert overlaps([trace("?", "a", x=1, y=2)], [trace("?", "b", y=2, x=1)])


def test_traces_without_user_text_overlap_only_when_equal() -> None:
    first, second = (
        Trace((Message("system", text), Message("assistant", "!"))) for text in ("a", "b")
    )
    assert not overlaps([first], [second])
    assert overlaps([first], [first])


def test_an_overlap_names_the_rows_of_both_sides() -> None:
    train = [trace("a", row=7), trace("b", row=8)]
    check_overlap(train, [trace("c")])
    with pytest.raises(UserError, match=r"1 of 2 .*\n  a.jsonl:5 = a.jsonl:8 \(exact\)"):
        check_overlap(train, [trace("c"), trace("b", row=5)])
    with pytest.raises(UserError, match="and 3 more"):
        check_overlap(train, [trace("a")] * 8)


def test_an_allowed_overlap_is_returned_and_written(tmp_path: Path) -> None:
    train, held_out = [trace("a"), trace("b")], [trace("c"), trace("B", "?")]
    found = check_overlap(train, held_out, allow=True)
    write_split(tmp_path / "split.json", train, held_out, allowed=found)
    record = json.loads((tmp_path / "split.json").read_text())
    assert record["allowed_overlaps"] == [
        {"train": train[1].id, "held_out": held_out[1].id, "kind": "normalised"}
    ]
    write_split(tmp_path / "split.json", train, held_out[:1])
    assert "allowed_overlaps" not in json.loads((tmp_path / "split.json").read_text())


def test_a_written_split_is_read_back_and_applied(tmp_path: Path) -> None:
    traces = in_groups([2, 1, 3, 1])
    train, held_out = split_traces(traces, 0.3)
    write_split(tmp_path / "split.json", train, held_out)
    record = json.loads((tmp_path / "split.json").read_text())
    assert record["held_out"] == [t.id for t in held_out]
    assert [p.name for p in tmp_path.iterdir()] == ["split.json"]
    assert apply_split(traces, read_split(tmp_path / "split.json")) == (train, held_out)


def test_a_split_of_other_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 held-out traces of the split are not in the data"):
        apply_split(in_groups([1, 1]), ["0123456789abcdef"])
    for text in ("", "[]", "{}", '{"held_out": 5}'):
        (tmp_path / "split.json").write_text(text)
        with pytest.raises(UserError, match="no split"):
            read_split(tmp_path / "split.json")
    with pytest.raises(UserError, match="no split"):
        read_split(tmp_path / "gone.json")
