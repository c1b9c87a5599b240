"""The report of a run: every metric, curve and held-out turn on one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tooltune.report.curves import charts
from tooltune.report.facts import flatten, rejection_rows, run_facts
from tooltune.report.files import RunFiles, read_evaluation, read_run
from tooltune.report.page import render_page, write_page
from tooltune.report.samples import SampleView, view_samples
from tooltune.report.tables import comparison_from_metrics, headline, metric_tables


def write_report(
    run_dir: Path,
    out: Path | None = None,
    *,
    base_tag: str = "step_0",
    tuned_tag: str = "final",
) -> Path:
    """Write the report of a run folder and return where it lies.

    Reads config.yaml, environment.json, metrics.jsonl, comparison.json, ledger.jsonl, split.json
    and eval/TAG/{metrics.json,samples.jsonl} of both tags; the page says what is missing.
    `out` is the file to write, `run_dir/report.html` by default. Raises `UserError` where
    `run_dir` is no folder or `out` cannot be written.
    """
    run_dir = Path(run_dir)
    files = read_run(run_dir, base_tag, tuned_tag)
    return write_page(out or run_dir / "report.html", render_report(files))


def write_comparison_report(
    base_dir: Path, tuned_dir: Path, comparison: Mapping[str, Any], out: Path
) -> Path:
    """Write the page of two evaluation folders side by side and return where it lies.

    Each folder may also be given as its samples.jsonl. `comparison` is the object of
    `comparison.json`. `out` is the file to write, or a folder that
    gets a `report.html`. Raises `UserError` where `out` cannot be written.
    """
    notes: list[str] = []
    base_name, tuned_name = (comparison.get(f"{side}_name", side) for side in ("base", "tuned"))
    files = RunFiles(
        name=f"{base_name} against {tuned_name}",
        comparison=dict(comparison),
        base=read_evaluation(_folder(base_dir), notes, "the base evaluation"),
        tuned=read_evaluation(_folder(tuned_dir), notes, "the tuned evaluation"),
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
    comparison: Mapping[str, Any] = files.comparison or measured
    samples = view_samples(files.base, files.tuned)
    return render_page(
        "report",
        samples.data,
        files=files,
        headline=headline(comparison, samples.flips),
        tables=metric_tables(comparison, measured),
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


def _sample_notes(samples: SampleView) -> list[str]:
    notes = []
    if samples.states.get("unpaired"):
        notes.append(
            f"{samples.states['unpaired']:,} samples are in only one of the two evaluations: "
            "they are listed as unpaired and count neither as fixed nor as broken."
        )
    if samples.n_omitted:
        notes.append(
            f"{samples.n_omitted:,} of {samples.n_samples:,} samples are counted but not listed, "
            "to keep the page quick; samples.jsonl has them all."
        )
    return notes
