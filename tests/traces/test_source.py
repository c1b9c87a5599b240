"""Sources: what is read of them, what is left out and why, and that every row is accounted for."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.containers import TABLE_FILES, write_lines, write_table
from tests.traces.strategies import garbage_rows
from tooltune.errors import UserError
from tooltune.traces import FORMATS, Traces, load_traces
from tooltune.traces.formats import Format
from tooltune.traces.jsonio import RowError
from tooltune.traces.source import (
    NOT_SAMPLED,
    TraceSource,
    iter_rows,
    read_trace,
    source_files,
    trace_source,
)


def row(question: str = "?", **columns: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "!"}]
    return {"messages": turns, **columns}


def questions(traces: Traces) -> list[str | None]:
    return [trace.messages[0].content for trace in traces]


def fails(path: Any = None, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_traces(path, **options)
    assert caught.value.fix
    return str(caught.value)


# Accounting ---------------------------------------------------------------------------------

_rows = st.lists(garbage_rows() | st.integers(0, 3).map(lambda n: row(str(n), n=n)), max_size=6)


@given(
    parts=st.lists(_rows, min_size=1, max_size=3),
    data=st.data(),
    how=st.sampled_from(["keep", "weight", "drop"]),
    seed=st.integers(0, 5),
)
@settings(max_examples=60)
def test_every_row_of_every_part_is_accepted_rejected_or_not_sampled(
    parts: list[list[Any]],
    data: st.DataObject,
    how: Any,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    sources = []
    for i, rows in enumerate(parts):
        path = folder / f"{i}.jsonl"
        lines = [json.dumps(item, default=str) for item in [row(f"first {i}", n=1), *rows]]
        path.write_text("\n".join(lines))
        where = data.draw(st.sampled_from([{}, {"n": ">=1"}]))
        count = data.draw(st.sampled_from([None, 1]))
        sources.append(trace_source(path, where=where, count=count))
    traces = load_traces(sources=sources, deduplicate=how, seed=seed)
    total = sum(len(rows) + 1 for rows in parts)
    assert traces.rows_read + traces.not_sampled == total
    assert traces.rows_read == traces.rows_accepted + len(traces.ledger)
    assert sum(traces.filtered.values()) == traces.ledger.counts.get("filtered", 0)
    again = load_traces(sources=sources, deduplicate=how, seed=seed)
    assert [trace.source for trace in again] == [trace.source for trace in traces]
    assert [trace.weight for trace in again] == [trace.weight for trace in traces]


@pytest.mark.parametrize("name", TABLE_FILES)
def test_tables_give_the_traces_of_json_lines(name: str, tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x": null, "y": 1}'}}
    tools = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {}}}])
    calling = row("call", tools=tools)
    calling["messages"][1] = {"role": "assistant", "content": None, "tool_calls": [call]}
    rows = [calling, row("plain", tools=None), row("again", tools=tools)]
    lines = load_traces(write_lines(tmp_path / "a.jsonl", rows))
    table = load_traces(write_table(tmp_path / name, rows))
    assert len(lines) == 3
    assert [trace.to_openai() for trace in table] == [trace.to_openai() for trace in lines]


# Columns, conditions, weights, groups -------------------------------------------------------


def test_columns_are_renamed_and_a_null_one_is_a_missing_one(tmp_path: Path) -> None:
    tool = {"name": "f", "parameters": {}}
    rows = [
        {"log": row("a")["messages"], "functions_json": json.dumps([tool]), "tools": "not these"},
        {"log": row("b")["messages"], "functions_json": None, "messages": None},
        {"log": row("c")["messages"]},
    ]
    columns = {"messages": "log", "tools": "functions_json"}
    traces = load_traces(write_lines(tmp_path / "a.jsonl", rows), columns=columns)
    assert questions(traces) == ["a", "b"]
    assert [len(trace.tools) for trace in traces] == [1, 0]
    assert traces.ledger.counts == {"missing_column": 1}
    columns["tools"] = "functions_json?"
    assert len(load_traces(tmp_path / "a.jsonl", columns=columns)) == 3


def test_formats_do_not_see_columns_that_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def read(given: Any) -> Any:
        seen.append(given)
        return FORMATS["chatml"].read(given)

    monkeypatch.setitem(FORMATS, "openai", Format(read, lambda _: "always"))
    given_row = {"conversations": None, **row("a"), "tools": None}
    part = TraceSource(format="openai", weight_by="n", where=())
    with pytest.raises(RowError, match="missing_column"):
        read_trace({**given_row, "n": None}, part)
    assert seen == [row("a")]


def test_rows_are_filtered_by_columns_and_counted_by_condition(tmp_path: Path) -> None:
    rows = [row(str(n), outcome="bad" if n % 2 else "good", meta={"score": n}) for n in range(8)]
    path = write_lines(tmp_path / "a.jsonl", [*rows, 5])
    traces = load_traces(path, where={"outcome": "good", "meta.score": ">=4"})
    assert questions(traces) == ["4", "6"]
    assert traces.filtered == {"outcome: good": 4, "meta.score: >=4": 2}
    assert traces.ledger.counts == {"filtered": 6, "row_not_an_object": 1}
    assert traces.rows_read == 9


def test_a_column_gives_the_weight_and_another_the_group(tmp_path: Path) -> None:
    rows = [row("a", w=0.5, s="x"), row("b", w="2", s="x"), row("c", w=-1, s="y"), row("d", s="y")]
    path = write_lines(tmp_path / "a.jsonl", rows)
    traces = load_traces(path, weight_by="w", group_by="s")
    assert [trace.weight for trace in traces] == [0.5, 2.0]
    assert traces[0].group == traces[1].group
    assert traces.ledger.counts == {"invalid_weight": 1, "missing_column": 1}
    assert load_traces(path)[0].group != load_traces(path)[1].group


def test_duplicates_are_weighted_or_dropped_over_all_files(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "a.jsonl", [row("a"), row("b")])
    other = write_lines(tmp_path / "b.jsonl", [row("A "), row("c"), row("a")])
    weighted = load_traces([one, other], deduplicate="weight")
    assert [trace.weight for trace in weighted] == pytest.approx([1 / 3, 1, 1 / 3, 1, 1 / 3])
    dropped = load_traces([one, other], deduplicate="drop")
    assert questions(dropped) == ["a", "b", "c"]
    assert [(r.file, r.row, r.code) for r in dropped.ledger.rejections] == [
        (str(other), 0, "duplicate"),
        (str(other), 2, "duplicate"),
    ]


# Mixing -------------------------------------------------------------------------------------


def many(path: Path, count: int, **columns: Any) -> Path:
    return write_lines(path, [row(f"{path.stem}{n}", n=n, **columns) for n in range(count)])


def test_a_mixture_takes_counts_and_shares_by_seed_and_keeps_the_order(tmp_path: Path) -> None:
    a, b, c = (many(tmp_path / f"{name}.jsonl", 40) for name in "abc")
    sources = [trace_source(a, weight=3.0), trace_source(b, weight=1.0), trace_source(c, count=5)]
    traces = load_traces(sources=sources, seed=1)
    found = Counter(str(question)[0] for question in questions(traces))
    assert found == {"a": 40, "b": 13, "c": 5}
    assert (traces.rows_read, traces.not_sampled, len(traces.ledger)) == (58, 62, 0)
    rows = [(trace.source.file, trace.source.row) for trace in traces if trace.source]
    assert rows == sorted(rows)
    assert questions(load_traces(sources=sources, seed=1)) == questions(traces)
    assert questions(load_traces(sources=sources, seed=2)) != questions(traces)


def test_only_rows_that_pass_are_sampled(tmp_path: Path) -> None:
    path = many(tmp_path / "a.jsonl", 20)
    path.write_bytes(path.read_bytes() + b"broken\n")
    part = trace_source(path, where={"n": ">=15"}, count=5)
    traces = load_traces(sources=[part])
    assert questions(traces) == ["a15", "a16", "a17", "a18", "a19"]
    assert traces.ledger.counts == {"filtered": 15, "invalid_json": 1}
    assert (traces.rows_read, traces.not_sampled) == (21, 0)
    part = trace_source(path, where={"n": ">=15"}, count=6)
    assert "count asks for 6 rows, and 5 can be used" in fails(sources=[part])


def test_parts_have_their_own_columns_slices_and_formats(tmp_path: Path) -> None:
    log = write_lines(tmp_path / "log.jsonl", [{"log": row(str(n))["messages"]} for n in range(9)])
    parts = [
        trace_source(log, columns={"messages": "log"}, split="train[2:6]", limit=2),
        trace_source(many(tmp_path / "a.jsonl", 3), format="openai"),
    ]
    assert questions(load_traces(sources=parts)) == ["2", "3", "a0", "a1", "a2"]


def test_requests_that_belong_together_are_not_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Format(FORMATS["openai"].read, FORMATS["openai"].recognise, per_request=True)
    monkeypatch.setitem(FORMATS, "openai", log)
    path = many(tmp_path / "a.jsonl", 3)
    assert "would tear the sessions apart" in fails(sources=[trace_source(path, count=2)])
    assert len(load_traces(sources=[trace_source(path, count=2)], stitch=False)) == 2


@pytest.mark.parametrize(("per_request", "stitch"), [(True, None), (False, True)])
def test_requests_that_repeat_their_history_become_one_trace(
    per_request: bool, stitch: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Format(FORMATS["openai"].read, FORMATS["openai"].recognise, per_request)
    monkeypatch.setitem(FORMATS, "openai", log)
    first = row("a")["messages"]
    second = [*first, {"role": "user", "content": "b"}, {"role": "assistant", "content": "."}]
    rows = [{"messages": first}, {"messages": second}, {"messages": []}]
    path = write_lines(tmp_path / "a.jsonl", rows)
    traces = load_traces(path, stitch=stitch)
    assert [len(trace.messages) for trace in traces] == [4]
    assert (traces.rows_read, traces.rows_accepted, traces.absorbed) == (3, 2, 1)
    assert len(load_traces(path, stitch=False)) == 2


# The value itself ---------------------------------------------------------------------------


def test_a_source_can_be_hashed_sent_to_a_process_and_written_as_json(tmp_path: Path) -> None:
    parts = [
        trace_source(tmp_path / "*.jsonl", where={"n": [1, ">2"]}, count=1, columns={"a": "b"})
    ]
    source = trace_source(sources=parts, seed=7, stitch=True)
    assert pickle.loads(pickle.dumps(source)) == source
    assert hash(source) == hash(pickle.loads(pickle.dumps(source)))
    assert json.loads(json.dumps(asdict(source)))["sources"][0]["seed"] == 7
    many(tmp_path / "b.jsonl", 1)
    many(tmp_path / "a.jsonl", 1)
    assert source_files(source) == (tmp_path / "a.jsonl", tmp_path / "b.jsonl")


def test_a_row_that_was_left_out_is_no_error_of_the_row(tmp_path: Path) -> None:
    path = many(tmp_path / "a.jsonl", 3)
    rows = list(iter_rows(trace_source(sources=[trace_source(path, count=1)])))
    out = [value for _, value, _ in rows if isinstance(value, RowError)]
    assert [error.code for error in out] == [NOT_SAMPLED] * 2
    with pytest.raises(RowError, match=NOT_SAMPLED):
        read_trace(out[0], rows[0].part)


def test_rejections_survive_the_way_from_another_process() -> None:
    with pytest.raises(RowError) as caught:
        read_trace({"messages": []}, TraceSource())
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, again.reason) == (caught.value.code, caught.value.reason)


def test_sources_that_cannot_be_meant_are_errors(tmp_path: Path) -> None:
    path = many(tmp_path / "a.jsonl", 3)
    assert "both path and sources" in fails(path, sources=[trace_source(path)])
    assert "streaming is given for a local file" in fails(path, streaming=True)
    assert "depends on the number of rows" in fails(
        dataset_name="a/b", split="train[:10%]", streaming=True
    )
    assert "is named twice" in fails([path, tmp_path / "*.jsonl"])
    assert "not understood" in fails(path, split=f"train[:{'9' * 5000}]")
    with pytest.raises(UserError, match="neither path"):
        trace_source()
    with pytest.raises(UserError, match="matches no file"):
        list(iter_rows(trace_source(sources=[trace_source(path), trace_source("*.nothing")])))


def test_a_slice_from_the_end_does_not_hold_the_rows_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = write_lines(tmp_path / "a.jsonl", [row("x" * 2000)] * 5000)
    tracemalloc.start()
    try:
        rows = iter_rows(trace_source(path, split="train[-4000:]"))
        assert next(rows).place.row == 1000
        assert sum(1 for _ in rows) == 3999
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
