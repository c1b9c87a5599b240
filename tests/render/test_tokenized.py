"""Token ids and labels as Parquet: what other trainers read is what is trained here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.render.strategies import simple_trace
from tooltune.errors import UserError
from tooltune.render.sequences import flatten_turns
from tooltune.render.tokenized import write_parquet
from tooltune.render.turns import Renderer


@pytest.mark.parametrize("name", ["qwen25", "qwen3"])
def test_the_columns_hold_the_sequences_of_every_row(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    renderer = Renderer(request.getfixturevalue(name))
    rows = [renderer.render(simple_trace(city=city)) for city in ("Rome", "Oslo", "Lima")]
    counts = write_parquet(rows, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    expected = [(row.trace.id, s) for row in rows for s in flatten_turns(row.turns)]
    assert counts["sequences"] == len(table) == len(expected)
    for item, (trace_id, sequence) in zip(table, expected, strict=True):
        assert tuple(item["input_ids"]) == sequence.input_ids
        assert tuple(item["labels"]) == sequence.labels
        assert item["attention_mask"] == [1] * len(sequence.input_ids)
        assert item["trace_id"] == trace_id
    assert counts["targets"] == sum(s.n_targets for _, s in expected)


def test_weights_that_labels_cannot_say_are_refused(qwen25: Any, tmp_path: Path) -> None:
    trace = simple_trace()
    messages = tuple(replace(m, weight=0.5) if m.role == "assistant" else m for m in trace.messages)
    row = Renderer(qwen25).render(replace(trace, messages=messages, id=""))
    with pytest.raises(UserError, match=r"loss weight 0\.5"):
        write_parquet([row], tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_hugging_face_collator_pads_the_rows_as_they_are(qwen25: Any, tmp_path: Path) -> None:
    from trl.trainer import sft_trainer as sft

    row = Renderer(qwen25).render(simple_trace())
    write_parquet([row], tmp_path / "out.parquet")
    (item,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    batch = sft.DataCollatorForLanguageModeling(pad_token_id=0)([item])
    assert batch["labels"][0].tolist() == item["labels"]
