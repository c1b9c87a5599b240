from __future__ import annotations

import json
from pathlib import Path

from tooltune.traces import Ledger, Rejection


def test_counts_are_by_code_the_most_frequent_first() -> None:
    ledger = Ledger()
    for row, code in enumerate(["no_messages", "unknown_role", "unknown_role"]):
        ledger.reject("f.jsonl", row, code, "why")
    assert list(ledger.counts.items()) == [("unknown_role", 2), ("no_messages", 1)]
    assert ledger.rejections[0] == Rejection("f.jsonl", 0, "no_messages", "why")
    assert len(ledger) == 3


def test_an_empty_ledger_is_still_a_ledger() -> None:
    assert Ledger()


def test_the_file_has_one_object_a_line_with_exactly_four_keys(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.reject("Zürich\u2028.jsonl", 7, "no_messages", 'a "quoted"\nreason')
    ledger.reject("bad-name-\udcff.json", 8, "unknown_role", "why")
    ledger.write(tmp_path / "ledger.jsonl")
    lines = (tmp_path / "ledger.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == [
        {
            "file": "Zürich\u2028.jsonl",
            "row": 7,
            "code": "no_messages",
            "reason": 'a "quoted"\nreason',
        },
        {"file": "bad-name-\udcff.json", "row": 8, "code": "unknown_role", "reason": "why"},
    ]
