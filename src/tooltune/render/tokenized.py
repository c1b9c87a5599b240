"""Rendered traces as a Parquet file of ids and labels, for trainers that take tokens as they are.

The columns are those of Hugging Face trainers: TRL's `SFTTrainer` leaves a data set with
`input_ids` and `labels` untouched, and Axolotl takes one with `attention_mask` too as
pre-tokenized. Loss weights other than 0 and 1 have no column there, so a trace that has some is
refused rather than flattened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tooltune.errors import UserError
from tooltune.render.sequences import FlatSequence, flatten_turns
from tooltune.render.turns import RenderedTrace

SCHEMA = pa.schema(
    {
        "input_ids": pa.list_(pa.int32()),
        "labels": pa.list_(pa.int32()),
        "attention_mask": pa.list_(pa.int8()),
        "trace_id": pa.string(),
    }
)
_ROWS_PER_GROUP = 1000


def write_parquet(rows: Iterable[RenderedTrace], path: str | Path) -> dict[str, int]:
    """Write one row per training sequence; return the counts of sequences, tokens and targets.

    A trace whose template rewrites history gives several sequences, each turn a target once.

    Raises: UserError for a loss weight that is neither 0 nor 1.
    """
    path = Path(path)
    staged = path.with_name(f".{path.name}.part")
    counts = {"sequences": 0, "tokens": 0, "targets": 0}
    try:
        with pq.ParquetWriter(staged, SCHEMA, compression="zstd") as writer:
            sequences = _sequences(rows)
            while group := list(islice(sequences, _ROWS_PER_GROUP)):
                writer.write_table(_table(group))
                counts["sequences"] += len(group)
                counts["tokens"] += sum(len(sequence.input_ids) for _, sequence in group)
                counts["targets"] += sum(sequence.n_targets for _, sequence in group)
        staged.rename(path)
    finally:
        staged.unlink(missing_ok=True)
    return counts


def _sequences(rows: Iterable[RenderedTrace]) -> Iterator[tuple[str, FlatSequence]]:
    for row in rows:
        for turn in row.turns:
            other = next((weight for weight in turn.weights if weight not in (0.0, 1.0)), None)
            if other is not None:
                raise UserError(
                    f"{row.trace.source or row.trace.id} messages[{turn.index}] has the loss "
                    f"weight {other:g}, and labels can only say 0 or 1",
                    fix="train it with `tooltune train`, or set the weights to 0 or 1",
                )
        for sequence in flatten_turns(row.turns):
            yield row.trace.id, sequence


def _table(pairs: Sequence[tuple[str, FlatSequence]]) -> pa.Table:
    columns = {
        "input_ids": [sequence.input_ids for _, sequence in pairs],
        "labels": [sequence.labels for _, sequence in pairs],
        "attention_mask": [[1] * len(sequence.input_ids) for _, sequence in pairs],
        "trace_id": [trace_id for trace_id, _ in pairs],
    }
    return pa.table(columns, schema=SCHEMA)
