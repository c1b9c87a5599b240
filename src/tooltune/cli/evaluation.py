"""What `tooltune eval` shows: one turn, all metrics, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tooltune.cli.output import (
    command_line,
    console,
    many,
    print_next,
    print_text,
    printable,
    say,
)

if TYPE_CHECKING:
    from tooltune.evaluate.evaluation_file import Record
    from tooltune.evaluate.run import Evaluation
    from tooltune.traces.types import Trace


def print_sample(record: Record, prompt: str | None) -> None:
    console.rule(f"{escape(printable(record['sample_id']))} ({record['kind']})")
    console.print("[bold]prompt[/]")
    print_text(prompt if prompt is not None else "(not rendered)", style="dim")
    console.print("[bold]output[/]")
    print_text(record["text"] or "(nothing)")
    console.print("[bold]parsed calls[/]")
    for call in record["calls"]:
        ok = call["status"] == "ok"
        print_text("  " + (_shown(call) if ok else f"{call['status']}: {call['raw']}"))
    if not record["calls"]:
        print_text("  none")
    console.print("[bold]ground truth[/]")
    for call in record["gt_tool_calls"]:
        print_text("  " + _shown(call))
    if not record["gt_tool_calls"]:
        print_text("  no call")
    verdict = record["verdict"]
    mark = "[bold green]right[/]" if verdict["correct"] else "[bold red]wrong[/]"
    reasons = f": {', '.join(verdict['reasons'])}" if verdict["reasons"] else ""
    ended = {"stop": "ended by itself", "length": "cut at --max-new-tokens"}
    reason = record["finish_reason"]
    console.print(
        f"[bold]verdict[/] {mark}{escape(printable(reasons))} ({ended.get(reason, reason)})"
    )
    if record.get("detail"):
        print_text(f"  {record['detail']}")


def _shown(call: dict[str, Any]) -> str:
    return f"{call['name']} {json.dumps(call['arguments'], ensure_ascii=False)}"


def say_how_it_went(done: Evaluation) -> None:
    """On stderr: what differs from run to run, and so is no metric."""
    reused = f", {done.reused:,} were there" if done.reused else ""
    say(f"{many(done.generated, 'output')} generated in {done.seconds:.1f} s{reused}")
    if done.excluded:
        first = done.excluded[0]
        turns = many(len(done.excluded), "turn")
        say(f"{turns} excluded, such as {first['sample_id']}: {first['reason']}")


def print_metrics(metrics: dict[str, Any]) -> None:
    """A line for each metric, a column for each set; of a single set with the 95 % interval."""
    console.print(
        f"{many(metrics['n_samples'], 'turn')} of {many(metrics['n_traces'], 'trace')}, "
        f"{escape(printable(metrics['model']))}"
    )
    columns = _by_set(metrics)
    intervals = metrics.get("ci95", {})
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    width = max(len(name) for name in names)
    if len(columns) > 1:
        print_text("  " + " " * width + "".join(f"  {title:>10}" for title in columns))
    for name in names:
        cells = [_cell(name, values.get(name)) for values in columns.values()]
        line = "".join(
            f"  {cell:>{max(10, len(title))}}" if len(columns) > 1 else f"  {cell}"
            for title, cell in zip(columns, cells, strict=True)
        )
        interval = intervals.get(f"{_PREFIX}{name}") if len(columns) == 1 else None
        shown = "" if interval is None else f"  [{interval[0]:.3f}, {interval[1]:.3f}]"
        print_text(f"  {name.ljust(width)}{line}{shown}")


_PREFIX = "tool_call/"


def _by_set(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Metrics by set and name, the main set first; a set that is all there is stands once."""
    columns: dict[str, dict[str, float]] = {"main": {}}
    for key, value in metrics.items():
        if isinstance(value, float):
            title, _, name = key.removeprefix(_PREFIX).rpartition("/")
            columns.setdefault(title or "main", {})[name] = value
    if len(columns) == 2 and len({tuple(values.items()) for values in columns.values()}) == 1:
        del columns["main"]
    return columns


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name.startswith("_") else f"{value:.3f}"


def say_what_next(
    records: Sequence[Record], traces: Sequence[Trace], out: Path | None, again: Sequence[str]
) -> None:
    """The first turn that went wrong, and the comparison with an evaluation beside this one."""
    rows = {trace.id: trace.source.row for trace in traces if trace.source is not None}
    wrong = [record for record in records if not record["verdict"]["correct"]]
    row = rows.get((wrong or records)[0]["example_id"], 0)
    why = "look at the first turn that is wrong" if wrong else "look at a turn"
    commands = [(command_line("tooltune", "eval", *again, "--row", row, "--print"), why)]
    if out is not None:
        print_text(f"\nevaluation: {out} (report.html, metrics.json, samples.jsonl, outputs.jsonl)")
        other = _evaluation_beside(out)
        if other is not None:
            to = out.parent / f"{other.name}-{out.name}"
            words = ("tooltune", "compare", out.parent / other.name, out, "--out", to)
            commands.append((command_line(*words), "against the other one"))
    print_next(commands)


def _evaluation_beside(out: Path) -> Path | None:
    """The newest other evaluation in the same folder that scored as many turns and traces."""
    own = _size(out.resolve() / "metrics.json")
    files = sorted(out.resolve().parent.glob("*/metrics.json"), key=lambda f: f.stat().st_mtime)
    others = [f.parent for f in files if f.parent != out.resolve() and _size(f) == own]
    return next((f for f in reversed(others) if (f / "samples.jsonl").is_file()), None)


def _size(file: Path) -> tuple[Any, ...] | None:
    try:
        metrics = json.loads(file.read_bytes())
        return metrics["n_samples"], metrics["n_traces"], metrics.get("tool_call/_count")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
