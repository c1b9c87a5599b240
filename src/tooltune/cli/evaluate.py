"""`tooltune eval`: tool-call accuracy of any model or checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tooltune.cli.output import console, print_json, print_next, user_errors

if TYPE_CHECKING:
    from tooltune.evaluate.run import Record

HELP = """Score a model's tool calls on held-out traces, by generation.

Examples:

  tooltune eval --model Qwen/Qwen2.5-3B-Instruct --data held_out.jsonl --out eval/base

  tooltune eval --model runs/my/checkpoints/LATEST/model/consolidated --data held_out.jsonl --out eval/tuned

  tooltune eval --model builtin:smollm2-135m-instruct --data held_out.jsonl --row 3 --print"""


@user_errors
def command(
    model: Annotated[str, typer.Option(help="Hub id, local directory, or builtin:NAME.")],
    data: Annotated[Path, typer.Option(help="JSON or JSONL file of traces.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for metrics.json and samples.jsonl.")
    ] = None,
    engine: Annotated[str, typer.Option(help="hf: in this process.")] = "hf",
    split: Annotated[str, typer.Option(help='Rows to use, such as "train[:100]".')] = "train",
    format: Annotated[
        str | None, typer.Option(help="Trace format; recognised if left out.")
    ] = None,
    chat_template: Annotated[
        str | None, typer.Option(help="Jinja file that overrides the tokenizer's template.")
    ] = None,
    max_samples: Annotated[
        int | None, typer.Option(help="Cap on the turns that are scored.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Generation budget of a turn.")] = 256,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Longer prompts are skipped, and count as wrong.")
    ] = None,
    abstain: Annotated[
        bool, typer.Option(help="Also score the turns that should not call a tool.")
    ] = True,
    row: Annotated[int | None, typer.Option(help="Only this row of the file, from 0.")] = None,
    print_: Annotated[
        bool, typer.Option("--print", help="Print prompt, output, calls and verdict of each turn.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    from tooltune.errors import UserError

    if engine != "hf":
        raise UserError(f"--engine {engine}: unknown", fix="use --engine hf")
    records, prompts = _evaluate(
        model,
        data,
        split=split,
        format=format,
        chat_template=chat_template,
        max_samples=max_samples,
        max_new_tokens=max_new_tokens,
        max_prompt_tokens=max_prompt_tokens,
        abstain=abstain,
        row=row,
        quiet=json,
    )
    from tooltune.evaluate.run import summarise, write_evaluation

    if print_:
        for record in records:
            _print_sample(record, prompts.get(record["sample_id"], ""))
    metrics: dict[str, Any] = dict(summarise(records))
    if out is not None:
        metrics = write_evaluation(out, records, model_name=model)
    if json:
        print_json(metrics)
        return
    if row is None:
        _print_metrics(metrics)
    if out is not None:
        print_next(
            [
                (f"tooltune compare OTHER {out} --out DIR", "against another evaluation"),
                (f"tooltune eval --model {model} --data {data} --row 0 --print", "look at one row"),
            ]
        )


def _evaluate(
    model: str,
    data: Path,
    *,
    split: str,
    format: str | None,
    chat_template: str | None,
    max_samples: int | None,
    max_new_tokens: int,
    max_prompt_tokens: int | None,
    abstain: bool,
    row: int | None,
    quiet: bool,
) -> tuple[list[Record], dict[str, str]]:
    """Records of the evaluated turns, and the prompt text of each by sample id."""
    import torch

    from tooltune.errors import UserError
    from tooltune.evaluate.prepare import prepare_samples, render_samples
    from tooltune.evaluate.run import GenerationOptions, generation_stop_ids, run_samples
    from tooltune.models.load import check_vocabulary, load_model, load_tokenizer
    from tooltune.render.turns import Renderer
    from tooltune.traces.load import load_traces, require_rows

    traces = load_traces(data, split=split, format=format)
    require_rows(traces)
    chosen = [t for t in traces if row is None or (t.source and t.source.row == row)]
    if not chosen:
        raise UserError(f"{data} has no accepted row {row}", fix=f"use 0 to {traces.rows_read - 1}")
    tokenizer = load_tokenizer(model, chat_template=chat_template)
    renderer = Renderer(tokenizer)
    samples = render_samples(chosen, renderer, include_abstain=abstain)[:max_samples]
    usable = [sample for sample in samples if sample.turn is not None]
    if not usable:
        reasons = sorted({sample.skip_reason or "" for sample in samples})
        raise UserError(
            f"{data} has no turn that this model's chat template can be asked for"
            + (f" ({', '.join(reasons)})" if reasons else ": no turn calls a tool"),
            fix="give traces with tool calls, or --chat-template with one that renders tools",
        )
    on_gpu = torch.cuda.is_available()
    loaded = load_model(
        model,
        dtype=torch.bfloat16 if on_gpu else torch.float32,
        device="cuda" if on_gpu else "cpu",
    )
    check_vocabulary(loaded, tokenizer)
    options = GenerationOptions(
        max_new_tokens=max_new_tokens,
        stop_ids=generation_stop_ids(tokenizer, loaded, renderer.stop_ids),
        call_format=renderer.profile.call_format,
    )
    prepared = prepare_samples(samples, max_prompt_tokens=max_prompt_tokens)
    records = run_samples(
        loaded, tokenizer, prepared, options, on_progress=None if quiet else _Progress()
    )
    prompts = {s.sample_id: s.turn.prompt_text for s in samples if s.turn is not None}
    return records, prompts


class _Progress:
    """A line at most every tenth of the work: readable in a terminal and in a log."""

    def __init__(self) -> None:
        self._shown = 0

    def __call__(self, done: int, total: int) -> None:
        tenth = done * 10 // max(total, 1)
        if tenth > self._shown:
            self._shown = tenth
            console.print(f"[dim]{done}/{total} turns[/]")


def _print_sample(record: Record, prompt: str) -> None:
    console.rule(f"{record['sample_id']} ({record['kind']})")
    console.print("[bold]prompt[/]")
    console.print(prompt, markup=False, style="dim")
    console.print("[bold]output[/]")
    console.print(record["text"] or "(nothing)", markup=False)
    console.print("[bold]parsed calls[/]")
    for call in record["calls"] or ["none"]:
        console.print(f"  {call}", markup=False)
    console.print("[bold]ground truth[/]")
    for call in record["gt_tool_calls"] or ["no call"]:
        console.print(f"  {call}", markup=False)
    verdict = record["verdict"]
    mark = "[bold green]right[/]" if verdict["correct"] else "[bold red]wrong[/]"
    reasons = escape(", ".join(verdict["reasons"]))
    console.print(f"[bold]verdict[/] {mark} {reasons} ({record['finish_reason']})")


def _print_metrics(metrics: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in metrics.items():
        if isinstance(value, float):
            name = key.rsplit("/", 1)[-1]
            shown = f"{value:.0f}" if name.startswith("_") else f"{value:.3f}"
            table.add_row(escape(key), shown)
    console.print(table)
