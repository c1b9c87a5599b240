"""The report of a run: one HTML file that works offline and runs nothing from the data.

Every text of a trace is hostile until shown otherwise (it may be markup, script, or a secret):
the template escapes, samples travel as escaped JSON that the page's script turns into text nodes
only, a content security policy allows no other script, style or request, and secrets are removed
from the finished page.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from tooltune.errors import UserError
from tooltune.report.curves import charts
from tooltune.report.facts import flatten, rejection_rows, run_facts
from tooltune.report.files import RunFiles, read_evaluation, read_run
from tooltune.report.samples import SampleView, view_samples
from tooltune.report.tables import comparison_from_metrics, headline, metric_tables
from tooltune.scrub import scrub_shapes

_SURROGATE = re.compile(r"[\ud800-\udfff]")


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
    return _write(out or run_dir / "report.html", render_report(files))


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
    return _write(target, render_report(files))


def render_report(files: RunFiles) -> str:
    """The page as HTML text, from files already read."""
    measured = comparison_from_metrics(
        files.base.metrics if files.base else None, files.tuned.metrics if files.tuned else None
    )
    comparison: Mapping[str, Any] = files.comparison or measured
    samples = view_samples(files.base, files.tuned)
    style, script = _asset("report.css"), _asset("report.js")
    page = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            files=files,
            policy=_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            headline=headline(comparison, samples.flips),
            tables=metric_tables(comparison, measured),
            charts=charts(files.log),
            facts=run_facts(files),
            rejections=rejection_rows(files.rejections or ()),
            environment=list(flatten(files.environment)) if files.environment else [],
            samples=samples,
            notes=[*files.notes, *_sample_notes(samples)],
            data=_embed(samples.data),
        )
    )
    # A lone surrogate is legal in JSON and impossible in UTF-8.
    return _SURROGATE.sub("\ufffd", scrub_shapes(page))


def _folder(path: Path) -> Path:
    path = Path(path)
    return path.parent if path.is_file() else path


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("tooltune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return package_files("tooltune.report").joinpath("templates", name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Only this page's own style and script run, known by hash; nothing is ever requested."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embed(data: Any) -> Markup:
    """JSON that neither ends its script element nor trips over U+2028 and U+2029."""

    def dumps(value: Any, **options: Any) -> str:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")

    return htmlsafe_json_dumps(data, dumps=dumps)


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


def _write(path: Path, page: str) -> Path:
    """Write beside the target, then rename: a reader never sees half a page."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(page, encoding="utf-8", newline="\n")
        staged.replace(path)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        raise UserError(
            f"{path}: the report cannot be written: {error.strerror}",
            fix="give an output path in a folder that you may write to",
        ) from error
    return path
