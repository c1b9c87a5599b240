"""Read the files of a run for its report: any may be absent or damaged, and the page says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tooltune.errors import UserError

Row = dict[str, Any]

# Bulky and of no use to a reader; dropped while reading so that large evaluations stay small.
_UNUSED_SAMPLE_KEYS = ("token_ids", "prompt_id")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation folder: `metrics` of metrics.json, `samples` of samples.jsonl (maybe none)."""

    metrics: Row
    samples: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One of the evaluations that stand side by side, under its label (`Base`, `Tuned`, …)."""

    label: str
    evaluation: Evaluation | None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What could be read of a run. `notes` says, in sentences, what could not.

    `base` and `tuned` are the two evaluations that are compared, `others` are more of the same
    samples. A page of one evaluation has it as `tuned`, and `alone`.
    """

    name: str
    config: str | None = None
    config_changes: str | None = None
    environment: Row | None = None
    log: tuple[Row, ...] = ()
    comparison: Row | None = None
    base: Evaluation | None = None
    tuned: Evaluation | None = None
    rejections: tuple[Row, ...] | None = None
    split: Any = None
    notes: tuple[str, ...] = field(default=())
    others: tuple[Column, ...] = ()
    labels: tuple[str, str] = ("Base", "Tuned")
    alone: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The evaluations from left to right, those included that could not be read."""
        if self.alone:
            return (Column("Model", self.tuned, self.model_name("tuned")),)
        base, tuned = self.labels
        return (
            Column(base, self.base, self.model_name("base")),
            Column(tuned, self.tuned, self.model_name("tuned")),
            *self.others,
        )

    def model_name(self, side: str) -> str | None:
        """A model's name from the comparison, or from its evaluation's own metrics."""
        named = first_pair(self.comparison or {}).get(f"{side}_name")
        if named is None:
            evaluation = self.base if side == "base" else self.tuned
            named = evaluation.metrics.get("model") if evaluation else None
        return None if named is None else str(named)


def first_pair(comparison: Mapping[str, Any]) -> Mapping[str, Any]:
    """The comparison of the first two evaluations, in the object of two or in that of several."""
    listed = comparison.get("comparisons")
    if isinstance(listed, list) and listed and isinstance(listed[0], Mapping):
        first: Mapping[str, Any] = listed[0]
        return first
    return comparison


def read_run(run_dir: Path, base_tag: str, tuned_tag: str) -> RunFiles:
    """Read every file of the run folder that a report shows.

    Raises `UserError` where `run_dir` is no folder; a missing or broken file becomes a note.
    """
    if not run_dir.is_dir():
        raise UserError(
            f"{run_dir}: no such run folder, so there is nothing to report",
            fix="give the folder of a run, such as runs/demo",
        )
    notes: list[str] = []
    return RunFiles(
        name=run_dir.resolve().name,
        config=_read_text(run_dir / "config.yaml", notes),
        # Most runs have none: nothing was changed when they were continued.
        config_changes=_read_text(run_dir / "config.history.yaml", []),
        environment=_read_object(run_dir / "environment.json", notes),
        log=_read_rows(run_dir / "metrics.jsonl", notes) or (),
        comparison=_read_object(run_dir / "comparison.json", notes),
        base=read_evaluation(run_dir / "eval" / base_tag, notes, f"eval/{base_tag}"),
        tuned=read_evaluation(run_dir / "eval" / tuned_tag, notes, f"eval/{tuned_tag}"),
        rejections=_read_rows(run_dir / "ledger.jsonl", notes),
        split=_read_json(run_dir / "split.json", notes),
        notes=tuple(notes),
    )


def read_evaluation(folder: Path, notes: list[str], label: str) -> Evaluation | None:
    """The evaluation in `folder`, or `None` where it has neither metrics nor samples.

    `label` names the folder in the notes that this appends to `notes`.
    """
    if not folder.is_dir():
        notes.append(f"{label} is not there: that model was not evaluated.")
        return None
    metrics = _read_object(folder / "metrics.json", notes, f"{label}/metrics.json")
    rows = _read_rows(
        folder / "samples.jsonl",
        notes,
        f"{label}/samples.jsonl",
        keep=lambda row: (
            isinstance(row.get("sample_id"), str) and isinstance(row.get("verdict"), dict)
        ),
        drop=_UNUSED_SAMPLE_KEYS,
    )
    if metrics is None and rows is None:
        return None
    return Evaluation(metrics or {}, rows or ())


def _read_text(path: Path, notes: list[str], label: str | None = None) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        notes.append(f"{label or path.name} is not there.")
    except OSError as error:
        notes.append(f"{label or path.name} cannot be read: {error.strerror}.")
    return None


def _read_json(path: Path, notes: list[str], label: str | None = None) -> Any:
    text = _read_text(path, notes, label)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        notes.append(f"{label or path.name} is not JSON: {error}.")
    return None


def _read_object(path: Path, notes: list[str], label: str | None = None) -> Row | None:
    value = _read_json(path, notes, label)
    if value is not None and not isinstance(value, dict):
        notes.append(f"{label or path.name} holds no JSON object.")
        return None
    return value


def _read_rows(
    path: Path,
    notes: list[str],
    label: str | None = None,
    *,
    keep: Callable[[Row], bool] = lambda row: True,
    drop: tuple[str, ...] = (),
) -> tuple[Row, ...] | None:
    """The objects of a JSONL file, less the keys `drop`; counts the lines that `keep` refuses."""
    label = label or path.name
    rows: list[Row] = []
    broken = 0
    try:
        with path.open("rb") as lines:  # bytes: only \n ends a line, never U+2028
            for line in lines:
                if not line.strip():
                    continue
                row = _parse_row(line)
                if row is None or not keep(row):
                    broken += 1
                    continue
                for key in drop:
                    row.pop(key, None)
                rows.append(row)
    except FileNotFoundError:
        notes.append(f"{label} is not there.")
        return None
    except OSError as error:
        notes.append(f"{label} cannot be read: {error.strerror}.")
        return None
    if broken:
        notes.append(f"{label}: {broken} {'line' if broken == 1 else 'lines'} could not be read.")
    return tuple(rows)


def _parse_row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return row if isinstance(row, dict) else None
