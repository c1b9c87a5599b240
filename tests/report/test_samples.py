from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.fabricate import correct, sample_pair
from tooltune.report.files import Column, Evaluation
from tooltune.report.samples import SampleView, view_samples
from tooltune.report.text import clip

STATE = {
    (False, True): "fixed",
    (True, False): "broken",
    (True, True): "right",
    (False, False): "wrong",
}


def evaluations(n: int, seed: int = 0) -> tuple[Evaluation, Evaluation]:
    rng = random.Random(seed)
    pairs = [sample_pair(i, rng) for i in range(n)]
    return (
        Evaluation({}, tuple(base for base, _ in pairs)),
        Evaluation({}, tuple(tuned for _, tuned in pairs)),
    )


def view(*sides: Evaluation | None) -> SampleView:
    return view_samples([Column(str(place), side) for place, side in enumerate(sides)])


@given(st.integers(0, 30), st.integers(0, 5))
def test_states_kinds_and_flips_count_what_the_verdicts_say(n: int, seed: int) -> None:
    base, tuned = evaluations(n, seed)
    seen = view(base, tuned)
    pairs = list(zip(base.samples, tuned.samples, strict=True))
    states = [STATE[correct(b), correct(t)] for b, t in pairs]
    assert seen.states == Counter(states)
    assert seen.kinds == Counter(t["kind"] for _, t in pairs)
    assert seen.flips == Counter(
        state
        for state, (_, t) in zip(states, pairs, strict=True)
        if t["dataset"] == "held_out" and t["kind"] == "call"
    )


def test_samples_are_joined_by_id_whatever_their_order() -> None:
    base, tuned = evaluations(12)
    backwards = replace(tuned, samples=tuned.samples[::-1])
    assert view(base, backwards).data["rows"] == view(base, tuned).data["rows"]


def test_the_same_id_in_two_data_sets_is_two_samples() -> None:
    base, tuned = evaluations(1)
    other = {**tuned.samples[0], "dataset": "other"}
    seen = view(base, replace(tuned, samples=(*tuned.samples, other)))
    assert (seen.n_samples, seen.states["unpaired"]) == (2, 1)
    assert seen.datasets == ("held_out", "other")


def test_a_sample_in_one_evaluation_only_is_neither_fixed_nor_broken() -> None:
    base, tuned = evaluations(10)
    seen = view(base, replace(tuned, samples=tuned.samples[3:]))
    assert seen.states["unpaired"] == 3
    assert seen.data["rows"][0]["sides"][1] is None


def test_one_evaluation_alone_has_right_and_wrong_samples() -> None:
    _, tuned = evaluations(10)
    seen = view(tuned)
    assert not seen.paired
    assert set(seen.states) <= {"right", "wrong"}
    assert seen.states["right"] == sum(map(correct, tuned.samples))


def test_messages_and_tools_that_samples_share_are_stored_once() -> None:
    base, tuned = evaluations(20)
    data = view(base, tuned).data
    assert len(data["tools"]) == 2
    first = data["rows"][0]
    original: list[dict[str, Any]] = tuned.samples[0]["prompt_messages"]
    assert [data["messages"][i]["text"] for i in first["messages"]] == [
        message["content"] for message in original
    ]
    assert len(data["messages"]) < 20 + 5


@given(st.text(max_size=30), st.integers(1, 20))
def test_clipped_text_says_how_much_is_left_out(text: str, limit: int) -> None:
    short = clip(text, limit)
    if len(text) <= limit:
        assert short == text
    else:
        assert short == f"{text[:limit]}\n… {len(text) - limit} characters more"


def test_each_answer_to_a_sample_that_was_asked_several_times_is_a_row() -> None:
    base, tuned = evaluations(3)
    thrice = [
        replace(side, samples=tuple({**row, "repeat": n} for row in side.samples for n in range(3)))
        for side in (base, tuned)
    ]
    seen = view(*thrice)
    assert seen.n_samples == 9
    assert [row.get("repeat", 0) for row in seen.data["rows"]] == [0, 1, 2] * 3
    assert seen.states["unpaired"] == 0


def test_where_nothing_is_held_out_all_data_sets_are_the_main_one() -> None:
    base, tuned = evaluations(10)
    suites = [
        replace(side, samples=tuple({**row, "dataset": f"suite-{i % 2}"} for i, row in rows))
        for side in (base, tuned)
        if (rows := list(enumerate(side.samples)))
    ]
    seen = view(*suites)
    assert seen.main is None
    assert sum(seen.flips.values()) == seen.kinds["call"]


def test_three_evaluations_are_three_columns_and_the_first_two_make_the_states() -> None:
    base, tuned = evaluations(12)
    seen = view(base, tuned, base)
    assert [len(row["sides"]) for row in seen.data["rows"]] == [3] * 12
    assert seen.states == view(base, tuned).states
    assert [column["label"] for column in seen.data["columns"]] == ["0", "1", "2"]


def test_long_texts_are_cut_and_many_samples_share_one_budget() -> None:
    base, tuned = evaluations(3)
    long = [{**row, "text": "x" * 50_000} for row in tuned.samples]
    side = view(base, replace(tuned, samples=tuple(long))).data["rows"][0]["sides"][1]
    assert len(side["text"]) < 4_100
    assert side["text"].endswith("… 46,000 characters more")


def test_many_long_texts_are_cut_shorter_until_the_page_keeps_to_its_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tooltune.report.samples._PAGE_CHARACTERS", 60_000)
    base, tuned = evaluations(20)
    long = replace(tuned, samples=tuple({**row, "text": "x" * 50_000} for row in tuned.samples))
    data = view(base, long).data
    assert len(json.dumps(data)) < 60_000
    assert len(data["rows"]) == 20


def test_beyond_the_most_rows_flips_are_kept_and_everything_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tooltune.report.samples._MAX_ROWS", 30)
    base, tuned = evaluations(40)
    seen = view(base, tuned)
    flips = seen.states["fixed"] + seen.states["broken"]
    pairs = [[side["correct"] for side in row["sides"]] for row in seen.data["rows"]]
    listed = Counter(STATE[before, after] for before, after in pairs)
    assert 0 < flips <= 30
    assert (seen.n_samples, seen.n_omitted, sum(listed.values())) == (40, 10, 30)
    assert listed["fixed"] + listed["broken"] == flips


def test_fields_of_the_wrong_type_are_shown_as_text_or_left_out() -> None:
    odd = {
        "sample_id": "t/1",
        "verdict": {"correct": "yes", "reasons": "none", "outcome": 3},
        "prompt_messages": ["x", {"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "tools": {"name": "f"},
        "gt_tool_calls": None,
        "calls": [{"name": 5, "arguments": "{"}],
        "text": None,
    }
    (row,) = view(Evaluation({}, (odd,))).data["rows"]
    assert row["sides"][0]["correct"] is False
    assert row["question"] == '[{"type": "text", "text": "hi"}]'
    assert row["sides"][0]["calls"][0]["actual"] == "5"
