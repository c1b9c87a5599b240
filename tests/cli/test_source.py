"""What is said about the rows that were read, and which DATA are files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traces.containers import write_lines
from tooltune.cli.source import say_what_was_read, source_keys
from tooltune.traces import load_traces
from tooltune.traces.source import trace_source


def test_filtered_and_left_out_rows_are_told_from_bad_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    rows = [{"messages": turns, "n": n} for n in range(6)]
    path = write_lines(tmp_path / "a.jsonl", [*rows, {"messages": [], "n": 5}])
    part = trace_source(path, where={"n": ">=2"}, count=4, split="train[:6]")
    say_what_was_read(load_traces(sources=[part]))
    said = "".join(capsys.readouterr())
    assert "6 rows read, 4 accepted, 2 filtered, 0 rejected\n" in said
    assert "2 x filtered by where n: >=2" in said
    say_what_was_read(load_traces(sources=[trace_source(path, count=2, split="train[:3]")]))
    assert "2 rows read, 2 accepted, 0 rejected, 1 more not sampled" in "".join(capsys.readouterr())
    say_what_was_read(load_traces(path))
    said = "".join(capsys.readouterr())
    assert "7 rows read, 6 accepted, 1 rejected\n  1 x no_messages, such as" in said


def test_a_glob_and_a_compressed_file_are_paths() -> None:
    for data in ("no/*.jsonl", "owner/name.jsonl.zst", "owner/name.gz", "owner/name.parquet"):
        assert source_keys(data) == {"path": data}
    assert source_keys("owner/name") == {"dataset_name": "owner/name"}
