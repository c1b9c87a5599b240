"""Every class of bad file has its defined outcome, and costs no row but its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.traces.bad_files import BAD_FILES, GOOD
from tooltune.render.turns import Renderer, render_traces
from tooltune.toolcalls.lint import CALL_CHECKS
from tooltune.traces import Ledger, load_traces
from tooltune.traces.lint import CHECKS, lint


def test_the_corpus_has_the_25_classes_and_more() -> None:
    assert len(BAD_FILES) >= 25


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_row_has_its_code_and_its_neighbours_stay(
    name: str, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    data, outcome = BAD_FILES[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\n" + data + b"\n" + GOOD + b"\n")
    ledger = Ledger()
    traces = load_traces(path, ledger=ledger)
    assert traces.rows_read == 3
    findings = lint(traces, checks={**CHECKS, **CALL_CHECKS}, ledger=Ledger()).counts
    rendered = render_traces(Renderer(builtin_tokenizer), traces, ledger)
    assert len(rendered) + len(ledger.rejections) == 3
    kept = {row.trace.source.row for row in rendered if row.trace.source is not None}
    assert {0, 2} <= kept
    rejected = Counter(item.code for item in ledger.rejections)
    if 1 not in kept:
        (item,) = ledger.rejections
        assert (item.row, item.code) == (1, outcome)
        assert "messages" in item.reason or "line 2" in item.reason or "tools[" in item.reason
    elif outcome != "accepted":
        assert outcome in findings, (rejected, findings)
    else:
        assert not rejected
