"""What a run was: model, data, rejections, tokens, time, gathered from its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tooltune.report.diff import compact_json
from tooltune.report.files import RunFiles
from tooltune.report.numbers import number
from tooltune.report.text import clip

_MOST_CODES = 30
_LONGEST_LEAF = 400  # templates are pages long


@dataclass(frozen=True, slots=True)
class RejectionRow:
    """One code of the ledger: how many rows it took, and one of them as an example."""

    code: str
    count: int
    example: str
    reason: str


def run_facts(files: RunFiles) -> list[tuple[str, str]]:
    """(label, value) pairs for the page's list of facts; what the files do not hold is left out."""
    train = [row for row in files.log if row.get("kind") == "train"]
    steps = {row["step"]: row for row in train if isinstance(row.get("step"), int)}
    facts = [
        *((_model(column.label), column.name) for column in files.columns),
        ("Optimizer steps", f"{max(steps):,}" if steps else None),
        ("Training loss", _from_to([number(steps[s].get("loss")) for s in sorted(steps)])),
        ("Validation loss", _from_to([number(r.get("loss")) for r in _of(files.log, "val")])),
        ("Tokens forwarded", _total(steps.values(), "tokens")),
        ("Tokens trained", _total(steps.values(), "trained_tokens")),
        ("Time in training steps", _seconds(steps.values())),
        *_data_facts(files),
    ]
    return [(label, value) for label, value in facts if value]


def rejection_rows(rejections: Iterable[Mapping[str, Any]]) -> list[RejectionRow]:
    """The ledger by code, the most frequent first."""
    rows = list(rejections)
    counts = Counter(str(row.get("code")) for row in rows)
    first = {str(row.get("code")): row for row in reversed(rows)}
    return [
        RejectionRow(
            code,
            n,
            f"{first[code].get('file', '?')}, row {first[code].get('row', '?')}",
            str(first[code].get("reason", "")),
        )
        for code, n in counts.most_common(_MOST_CODES)
    ]


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a JSON object as (dotted key, text), for a table of the environment."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flatten(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, clip(value if isinstance(value, str) else compact_json(value), _LONGEST_LEAF)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 0 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _of(log: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [row for row in log if row.get("kind") == kind]


def _model(label: str) -> str:
    return label if label == "Model" else f"{label} model"


def _from_to(values: list[float | None]) -> str | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return f"{known[0]:.3f} → {known[-1]:.3f}" if len(known) > 1 else f"{known[0]:.3f}"


def _sum(rows: Iterable[Mapping[str, Any]], key: str) -> float:
    return sum(number(row.get(key)) or 0.0 for row in rows)


def _total(rows: Iterable[Mapping[str, Any]], key: str) -> str | None:
    total = _sum(rows, key)
    return f"{total:,.0f}" if total else None


def _seconds(rows: Iterable[Mapping[str, Any]]) -> str | None:
    total = _sum(rows, "seconds")
    return duration(total) if total else None


def _data_facts(files: RunFiles) -> list[tuple[str, str | None]]:
    rows = (files.environment or {}).get("rows")
    rows = rows if isinstance(rows, Mapping) else {}
    split = files.split if isinstance(files.split, Mapping) else {}
    rejected = None if files.rejections is None else len(files.rejections)
    return [
        ("Rows read", _integer(rows.get("read"))),
        ("Rows accepted", _integer(rows.get("accepted"))),
        ("Rows rejected", _integer(rejected)),
        ("Traces trained on", _integer(split.get("n_train"))),
        ("Traces held out", _integer(split.get("n_held_out"))),
    ]


def _integer(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None
