"""`tooltune convert`: any format to canonical rows or tokens, with nothing lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.cli.command import refused, succeeds, write_rows
from tooltune.traces import load_traces

SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Time in Rome?"},
        {"from": "function_call", "value": '{"name": "get_time", "arguments": {"city": "Rome"}}'},
        {"from": "observation", "value": "12:30"},
        {"from": "gpt", "value": "Half past twelve."},
    ],
    "tools": '[{"name": "get_time", "parameters": {"type": "object", "properties": {}}}]',
}
BROKEN = {"conversations": [{"from": "human", "value": "Hello?"}]}


def test_rows_of_another_format_become_openai_rows(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", SHAREGPT, BROKEN)
    out = tmp_path / "out.jsonl"
    printed = succeeds("convert", path, "--out", out, "--json")
    account = json.loads(printed.out)
    assert account == {"rows read": 2, "traces written": 1, "rows rejected": 1}
    (trace,) = load_traces(out)
    assert trace.messages == load_traces(path)[0].messages
    (rejected,) = (tmp_path / "out.jsonl.ledger.jsonl").read_text().splitlines()
    assert json.loads(rejected)["row"] == 1


def test_arguments_can_be_text_as_openai_takes_them(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", SHAREGPT)
    out = tmp_path / "out.jsonl"
    succeeds("convert", path, "--out", out, "--arguments", "string")
    row = json.loads(out.read_text())
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"city": "Rome"}'


def test_tokenized_rows_are_those_that_training_sees(model: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", SHAREGPT)
    out = tmp_path / "out.parquet"
    succeeds("convert", path, "--out", out, "--tokenized", "--model", model)
    preview = json.loads(succeeds("preview", path, "--model", model, "--json").out)
    ((sequence,), (row,)) = preview["sequences"], pq.read_table(out).to_pylist()
    assert row["input_ids"] == [token["id"] for token in sequence]
    trained = [token["id"] if token["weight"] > 0 else -100 for token in sequence]
    assert row["labels"] == trained


def test_what_cannot_be_done_is_said_before_anything_is_read(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert "--tokenized" in refused("convert", data, "--out", out, "--model", "m")
    assert "object or string" in refused("convert", data, "--out", out, "--arguments", "x")
    assert "mkdir -p" in refused("convert", data, "--out", tmp_path / "no" / "out.jsonl")
    out.write_text("precious")
    assert "exists" in refused("convert", data, "--out", out)
    assert out.read_text() == "precious"


def test_a_file_is_named_after_what_it_holds(data: Path, tmp_path: Path) -> None:
    tokens = ("--tokenized", "--model", "unused")
    assert "rows.jsonl" in refused("convert", data, "--out", tmp_path / "rows.parquet")
    assert "rows.parquet" in refused("convert", data, "--out", tmp_path / "rows.jsonl", *tokens)
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", SHAREGPT, BROKEN)
    ledger = tmp_path / "out.jsonl.ledger.jsonl"
    ledger.write_text("precious")
    assert "exists" in refused("convert", path, "--out", tmp_path / "out.jsonl")
    assert ledger.read_text() == "precious"
