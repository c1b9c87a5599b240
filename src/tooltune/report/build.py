"""The report of a run: every metric, curve and held-out turn on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tooltune.report.breakdowns import (
    abstain_table,
    failure_table,
    group_tables,
    parser_view,
    tool_table,
)
from tooltune.report.curves import charts
from tooltune.report.facts import flatten, rejection_rows, run_facts
from tooltune.report.files import Column, RunFiles, first_pair, read_evaluation, read_run
from tooltune.report.page import render_page, write_page
from tooltune.report.samples import SampleView, view_samples
from tooltune.report.several import pair_comparisons, several_spans, several_tables
from tooltune.report.tables import comparison_from_metrics, headline, lone_headline, metric_tables

_PARTS = ("unpack", "tables", "filters", "sample")
"""The scripts of the page, in the order in which they need each other; `report.js` is last."""


def write_report(
    run_dir: Path,
    out: Path | None = None,
    *,
    base_tag: str = "step_0",
    tuned_tag: str = "final",
) -> Path:
    """Write the report of a run folder and return where it lies.

    Reads config.yaml, config.history.yaml, environment.json, metrics.jsonl, comparison.json,
    ledger.jsonl, split.json and eval/TAG/{metrics.json,samples.jsonl} of both tags; the page
    says what is missing.
    `out` is the file to write, `run_dir/report.html` by default. Raises `UserError` where
    `run_dir` is no folder or `out` cannot be written.
    """
    run_dir = Path(run_dir)
    files = read_run(run_dir, base_tag, tuned_tag)
    return write_page(out or run_dir / "report.html", render_report(files))


def write_evaluation_report(directory: Path, out: Path | None = None) -> Path:
    """Write the page of one evaluation folder (metrics.json, samples.jsonl); return where it lies.

    `out` is the file to write, `directory/report.html` by default. Raises `UserError` where it
    cannot be written; what cannot be read is said on the page.
    """
    directory = Path(directory)
    notes: list[str] = []
    files = RunFiles(
        name=directory.resolve().name,
        tuned=read_evaluation(directory, notes, "the evaluation"),
        notes=tuple(notes),
        alone=True,
    )
    return write_page(out or directory / "report.html", render_report(files))


def write_comparison_report(
    base_dir: Path,
    tuned_dir: Path,
    comparison: Mapping[str, Any],
    out: Path,
    *,
    others: Sequence[Path] = (),
) -> Path:
    """Write the page of evaluation folders side by side and return where it lies.

    Each folder may also be given as its samples.jsonl; `others` are more evaluations of the same
    samples, each a column of its own. `comparison` is the object of `comparison.json`, that of two
    or that of several. `out` is the file to write, or a folder that gets a `report.html`. Raises
    `UserError` where `out` cannot be written.
    """
    notes: list[str] = []
    pair = first_pair(comparison)
    base_name, tuned_name = (pair.get(f"{side}_name", side) for side in ("base", "tuned"))
    folders = [_folder(folder) for folder in (base_dir, tuned_dir, *others)]
    base, tuned, *rest = (
        Column(label, read_evaluation(folder, notes, f"the evaluation {label}"), str(folder))
        for label, folder in zip(_labels(folders), folders, strict=True)
    )
    files = RunFiles(
        name=f"{len(folders)} evaluations" if rest else f"{base_name} against {tuned_name}",
        comparison=dict(comparison),
        base=base.evaluation,
        tuned=tuned.evaluation,
        others=tuple(rest),
        labels=(base.label, tuned.label),
        notes=tuple(notes),
    )
    target = Path(out)
    if target.suffix != ".html":
        target = target / "report.html"
    return write_page(target, render_report(files))


def render_report(files: RunFiles) -> str:
    """The page as HTML text, from files already read."""
    measured = comparison_from_metrics(
        files.base.metrics if files.base else None, files.tuned.metrics if files.tuned else None
    )
    comparison: Mapping[str, Any] = first_pair(files.comparison or measured)
    columns = files.columns
    pairs = pair_comparisons(files) if files.others else []
    samples = view_samples(columns)
    return render_page(
        "report",
        samples.data,
        parts=_PARTS,
        pack=True,
        files=files,
        columns=columns,
        headline=lone_headline(files.tuned) if files.alone else headline(comparison, samples.flips),
        tables=metric_tables(comparison, measured),
        several=several_tables(pairs),
        spans=several_spans(files, pairs) if pairs else [],
        failures=failure_table(columns),
        abstain=abstain_table(columns),
        tools=tool_table(columns),
        groups=group_tables(columns),
        parser=parser_view(columns),
        charts=charts(files.log),
        facts=run_facts(files),
        rejections=rejection_rows(files.rejections or ()),
        environment=list(flatten(files.environment)) if files.environment else [],
        samples=samples,
        notes=[*files.notes, *_sample_notes(samples)],
    )


def _folder(path: Path) -> Path:
    path = Path(path)
    return path.parent if path.is_file() else path


def _labels(folders: Sequence[Path]) -> list[str]:
    """`Base` and `Tuned`; of more than two their own names, or paths where names are alike."""
    if len(folders) == 2:
        return ["Base", "Tuned"]
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _sample_notes(samples: SampleView) -> list[str]:
    notes = []
    if samples.states.get("unpaired"):
        notes.append(
            f"{samples.states['unpaired']:,} samples are in only one of the two evaluations: "
            "they are listed as unpaired and count neither as fixed nor as broken. The tables of "
            "failures and tools count all that each evaluation has."
        )
    if samples.n_omitted:
        notes.append(
            f"{samples.n_omitted:,} of {samples.n_samples:,} samples are counted but not listed, "
            "to keep the page quick; samples.jsonl has them all."
        )
    return notes
