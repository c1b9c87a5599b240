"""What DATA may be on the command line: a file of traces, or the id of a hub data set."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tooltune.cli.output import command_line, say

if TYPE_CHECKING:
    from tooltune.config.schema import Config
    from tooltune.traces.load import Traces
    from tooltune.traces.types import Trace

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILE_SUFFIX = re.compile(r"\.(jsonl?|ndjson|jsonlines|parquet|arrow|[ct]sv|txt|gz|zstd?|ya?ml)$")


def source_keys(data: str) -> dict[str, str]:
    """`{"path": FILE}`, or `{"dataset_name": ID}` for what is no file and looks like a hub id.

    `OWNER/NAME` is a hub id unless a folder OWNER is here, or NAME ends as files do.
    """
    here = os.path.exists(data) or os.path.isdir(data.split("/")[0])
    if not here and _HUB_ID.fullmatch(data) and not _FILE_SUFFIX.search(data.lower()):
        return {"dataset_name": data}
    return {"path": data}


def is_config(data: str) -> bool:
    return Path(data).suffix.lower() in (".yaml", ".yml")


def config_of(verb: str, data: str, model: str | None, overrides: Sequence[str]) -> Config:
    """The config at `data`; or that of training `model` on `data`, nothing held out.

    Raises UserError where data are given without a model, and for all that is wrong with a config.
    """
    from tooltune.config.load import load_config
    from tooltune.errors import UserError
    from tooltune.traces.files import expand_path

    if is_config(data):
        named = [] if model is None else [f"--model={model}"]
        return load_config(Path(data), [*overrides, *named])
    source = source_keys(data)
    if "path" in source:
        expand_path(data)
    if model is None:
        example = command_line("tooltune", verb, data, "--model", "builtin:smollm2-135m-instruct")
        raise UserError(
            f"{data} is data, and what is trained depends on the model's template and tokenizer",
            fix=f"name a model, for example: {example}",
        )
    base = {
        "model": model,
        "dataset": source,
        "validation_dataset": None,
        "tool_call_eval": {"enabled": False},
    }
    return load_config(None, overrides, base=base)


def say_what_was_read(traces: Traces) -> None:
    """How many rows were read and accepted, which were not wanted, and why others were not used."""
    filtered = sum(traces.filtered.values())
    rejected = traces.rows_read - traces.rows_accepted - filtered
    parts = [f"{traces.rows_read} rows read, {traces.rows_accepted} accepted"]
    parts += [f"{traces.absorbed} of them in a longer request"] if traces.absorbed else []
    parts += [f"{filtered} filtered"] if filtered else []
    parts += [f"{rejected} rejected"]
    parts += [f"{traces.not_sampled} more not sampled"] if traces.not_sampled else []
    say(", ".join(parts))
    for condition, count in traces.filtered.items():
        say(f"  {count} x filtered by where {condition}")
    for code, count in traces.ledger.counts.items():
        if code == "filtered":
            continue
        example = next(r for r in traces.ledger.rejections if r.code == code)
        say(f"  {count} x {code}, such as {example.file}:{example.row}: {example.reason}")


def trace_of_row(traces: Traces, data: str, row: int) -> Trace:
    """The trace that was row `row` of the data.

    Raises UserError where that row was rejected, with the reason, where it is a request that a
    longer one repeats, and where there is no such row.
    """
    from tooltune.errors import UserError

    for trace in traces:
        if trace.source is not None and trace.source.row == row:
            return trace
    for rejection in traces.ledger.rejections:
        if rejection.row == row:
            raise UserError(
                f"{data}:{row} was rejected ({rejection.code}): {rejection.reason}",
                fix="mend that row of the data, or choose another with --row",
            )
    rows = sorted({trace.source.row for trace in traces if trace.source is not None})
    if traces.absorbed and rows and row < max(rows[-1], traces.rows_read):
        near = next((other for other in rows if other > row), rows[-1])
        raise UserError(
            f"{data}:{row} is no trace of its own: another request repeats it",
            fix=f"use a row that ends its conversation, such as --row {near}",
        )
    if traces.not_sampled:
        raise UserError(
            f"{data} has no row {row} among those that were sampled",
            fix=f"use another row, such as --row {rows[0]}" if rows else None,
        )
    last = rows[-1] if rows else traces.rows_read - 1
    raise UserError(
        f"{data} has no row {row}: {traces.rows_read} were read, counted from 0",
        fix=f"use --row {rows[0] if rows else 0} to --row {last}",
    )
