"""What DATA may be on the command line: a file of traces, or the id of a hub data set."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tooltune.cli.output import say

if TYPE_CHECKING:
    from tooltune.traces.load import Traces

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILE_SUFFIX = re.compile(r"\.(json|jsonl|ndjson|jsonlines|parquet|arrow|csv|tsv|txt|gz|ya?ml)$")


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


def say_what_was_read(traces: Traces) -> None:
    """How many rows were read and accepted, and why the others were not."""
    rejected = traces.rows_read - len(traces)
    say(f"{traces.rows_read} rows read, {len(traces)} accepted, {rejected} rejected")
    for code, count in traces.ledger.counts.items():
        example = next(r for r in traces.ledger.rejections if r.code == code)
        say(f"  {count} x {code}, such as {example.file}:{example.row}: {example.reason}")
