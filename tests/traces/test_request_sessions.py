"""From the rows of a request log to a split: accounting, sessions, and no turn trained twice."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.errors import UserError
from tooltune.traces import Traces, check_overlap, load_traces, split_traces
from tooltune.traces.source import trace_source

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def session_rows(session: int, turns: int, *, named: bool) -> list[dict[str, Any]]:
    """The requests of one session: a question, calls with results, and an answer at the end."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"question {session}"},
    ]
    rows = []
    for turn in range(turns):
        function = {"name": "look", "arguments": json.dumps({"turn": turn, "of": session})}
        answer: dict[str, Any] = {"role": "assistant", "content": None}
        answer["tool_calls"] = [{"id": f"c{turn}", "type": "function", "function": function}]
        if turn == turns - 1:
            answer = {"role": "assistant", "content": f"answer {session}"}
        logged = {**answer, "reasoning_content": f"thought {session}.{turn}"}
        row: dict[str, Any] = {
            "request": {"messages": list(messages), "tools": [TOOL]},
            "response": {"choices": [{"index": 0, "message": logged, "finish_reason": "stop"}]},
        }
        rows.append({**row, "session_id": str(session)} if named else row)
        messages += [answer, {"role": "tool", "tool_call_id": f"c{turn}", "content": f"r{turn}"}]
    return rows


def load(path: Path, rows: list[dict[str, Any]], **options: Any) -> Traces:
    path.write_text("\n".join(map(json.dumps, rows)))
    return load_traces(path, **options)


@given(
    sessions=st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=2, max_size=6),
    shuffler=st.randoms(use_true_random=False),
)
@settings(max_examples=25)
def test_a_log_becomes_one_trace_per_session_and_all_rows_are_accounted_for(
    sessions: list[tuple[int, bool]],
    shuffler: random.Random,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rows = [
        row
        for number, (turns, named) in enumerate(sessions)
        for row in session_rows(number, turns, named=named)
    ]
    rows += [{"request": rows[0]["request"], "response": {"status": 500, "body": {}}}]
    shuffler.shuffle(rows)
    traces = load(tmp_path_factory.getbasetemp() / "log.jsonl", rows)
    assert traces.rows_read == len(rows) == traces.rows_accepted + len(traces.ledger)
    assert traces.ledger.counts == {"request_failed": 1}
    assert sorted(trace.messages[1].content or "" for trace in traces) == [
        f"question {number}" for number in range(len(sessions))
    ]
    trained = Counter(
        trace.messages[i].reasoning
        for trace in traces
        for i in trace.turns
        if trace.messages[i].weight > 0
    )
    assert trained == Counter(
        f"thought {number}.{turn}"
        for number, (turns, _) in enumerate(sessions)
        for turn in range(turns)
    )


def test_a_session_whose_tools_change_stays_on_one_side_of_a_split(tmp_path: Path) -> None:
    rows = [row for n in range(20) for row in session_rows(n, 4, named=n % 2 == 0)]
    for i, row in enumerate(rows):
        if i % 4 == 2:
            row["request"].pop("tools")
    traces = load(tmp_path / "log.jsonl", rows)
    assert len(traces) == 40
    for seed in range(5):
        train, held_out = split_traces(traces, 0.3, seed)
        sides = defaultdict(set)
        for name, side in (("train", train), ("held out", held_out)):
            for trace in side:
                sides[trace.messages[1].content].add(name)
        assert all(len(names) == 1 for names in sides.values())
        assert check_overlap(train, held_out) == []


def test_a_filter_on_requests_trains_the_chosen_answers_only(tmp_path: Path) -> None:
    rows = session_rows(0, 4, named=True)
    for row, score in zip(rows, (1, 0, 0, 1), strict=True):
        row["score"] = score
    (trace,) = load(tmp_path / "log.jsonl", rows, where={"score": 1})
    assert [trace.messages[i].weight for i in trace.turns] == [1.0, 0.0, 0.0, 1.0]


def test_a_score_weighs_the_answer_that_has_it(tmp_path: Path) -> None:
    rows = session_rows(0, 3, named=True)
    for row, score in zip(rows, (1, 0.5, 2), strict=True):
        row["score"] = score
    (trace,) = load(tmp_path / "log.jsonl", rows, weight_by="score")
    assert [trace.messages[i].weight for i in trace.turns] == [1.0, 0.5, 2.0]
    assert trace.weight == 1.0


def test_requests_that_only_the_config_calls_so_are_chosen_one_by_one_too(tmp_path: Path) -> None:
    turns = [{"role": role, "content": str(i)} for i in (0, 1) for role in ("user", "assistant")]
    rows = [{"messages": turns[:2], "score": 0}, {"messages": turns, "score": 1}]
    (trace,) = load(tmp_path / "rows.jsonl", rows, where={"score": 1}, stitch=True)
    assert [trace.messages[i].weight for i in trace.turns] == [0.0, 1.0]
    part = trace_source(tmp_path / "rows.jsonl", count=1)
    with pytest.raises(UserError, match="would tear the sessions apart"):
        load_traces(sources=[part], stitch=True)


def test_sessions_and_other_traces_stand_in_the_order_of_their_rows(tmp_path: Path) -> None:
    plain = {"messages": [{"role": role, "content": "!"} for role in ("user", "assistant")]}
    load(tmp_path / "b.jsonl", [*session_rows(0, 2, named=True), plain])
    load(tmp_path / "a.jsonl", [plain, *session_rows(1, 2, named=True)])
    traces = load_traces([tmp_path / "b.jsonl", tmp_path / "a.jsonl"], deduplicate="drop")
    places = [(Path(t.source.file).name, t.source.row) for t in traces if t.source is not None]
    assert places == [("b.jsonl", 1), ("b.jsonl", 2), ("a.jsonl", 2)]
