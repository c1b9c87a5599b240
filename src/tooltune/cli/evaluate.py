"""`tooltune eval`: tool-call accuracy of any model or checkpoint."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tooltune.cli.evaluation import print_metrics, print_sample, say_what_next
from tooltune.cli.options import ChatTemplate, ChatTemplateKwargs, read_kwargs
from tooltune.cli.output import counting, help_text, print_json, user_errors, working
from tooltune.cli.source import say_what_was_read, source_keys, trace_of_row

if TYPE_CHECKING:
    from tooltune.evaluate.run import Record
    from tooltune.evaluate.samples import EvalSample
    from tooltune.render.turns import Renderer
    from tooltune.traces.types import Trace

HELP = help_text(
    "Score a model's tool calls on held-out traces, by generation.",
    "tooltune eval --model Qwen/Qwen2.5-3B-Instruct --data test.jsonl \\\n      --out eval/base",
    "tooltune eval --model runs/my/checkpoints/LATEST/model/consolidated \\\n"
    "      --data test.jsonl --out eval/tuned",
    "tooltune eval --model builtin:smollm2-135m-instruct --data test.jsonl \\\n"
    "      --row 3 --print",
    remark="Decoding is greedy. accuracy is the share of turns whose calls are all right, names "
    "and arguments, with none too many; turns that should not call are abstain_accuracy.",
)

_MAX_NEW_TOKENS = 256


@dataclass(frozen=True, slots=True)
class _Limits:
    """What of the data is generated, and how long a prompt and an answer may be."""

    row: int | None
    max_samples: int | None
    max_new_tokens: int
    max_prompt_tokens: int | None
    abstain: bool


@user_errors
def command(
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Hub id, local directory, or builtin:NAME.")
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA", help="JSON or JSONL file of traces, or a hub data set (OWNER/NAME)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write metrics.json, samples.jsonl, ledger.jsonl there."),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="ENGINE", help="What generates. hf: this process.")
    ] = "hf",
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="Rows to use: train, train[:100], train[90%:].")
    ] = "train",
    format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Trace format; recognised if left out.")
    ] = None,
    chat_template: ChatTemplate = None,
    chat_template_kwargs: ChatTemplateKwargs = None,
    max_samples: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Score the first N turns only.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Generation budget of a turn, in tokens.")
    ] = _MAX_NEW_TOKENS,
    max_prompt_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Turns with longer prompts are skipped, and count as wrong."
        ),
    ] = None,
    abstain: Annotated[
        bool, typer.Option("--abstain/--no-abstain", help="Also score turns that should not call.")
    ] = True,
    row: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Only this row of the data, from 0.")
    ] = None,
    print_: Annotated[
        bool, typer.Option("--print", help="Print prompt, output, calls and verdict of each turn.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    from tooltune.errors import UserError
    from tooltune.models.render_record import read_render_record
    from tooltune.traces.load import load_traces, require_rows

    if engine != "hf":
        raise UserError(f"--engine {engine}: no such engine", fix="use --engine hf")
    if print_ and json:
        raise UserError("--print and --json both want the output", fix="leave one out")
    spec = read_render_record(model).of_prompts
    if chat_template_kwargs is not None:
        spec = replace(spec, chat_template_kwargs=read_kwargs(chat_template_kwargs))
    if out is not None:
        _check_out(out, model)
    source = source_keys(data)
    with working(f"reading {data}"):
        traces = load_traces(
            source.get("path"), dataset_name=source.get("dataset_name"), split=split, format=format
        )
    require_rows(traces)
    say_what_was_read(traces)
    limits = _Limits(row, max_samples, max_new_tokens, max_prompt_tokens, abstain)
    chosen = list(traces) if row is None else [trace_of_row(traces, data, row)]
    records, prompts = _evaluate(model, data, chosen, limits, chat_template, spec)

    from tooltune.evaluate.run import evaluation_metrics, write_evaluation

    if out is None:
        metrics = evaluation_metrics(records, model_name=model)
    else:
        metrics = write_evaluation(out, records, model_name=model)
        traces.ledger.write(out / "ledger.jsonl")
    if json:
        print_json(metrics)
        return
    if print_:
        for record in records:
            print_sample(record, prompts.get(record["sample_id"]))
    else:
        print_metrics(metrics)
    if row is None:
        repeated = {
            "--model": model,
            "--data": data,
            "--split": split if split != "train" and "dataset_name" in source else None,
            "--format": format,
            "--chat-template": chat_template,
            "--chat-template-kwargs": chat_template_kwargs,
            "--max-new-tokens": max_new_tokens if max_new_tokens != _MAX_NEW_TOKENS else None,
        }
        again = [str(word) for pair in repeated.items() if pair[1] is not None for word in pair]
        say_what_next(records, chosen, out, again)


def _check_out(out: Path, model: str) -> None:
    """Raise UserError before the work, not after it, where the results must not be written."""
    from tooltune.errors import UserError

    try:
        there = jsonlib.loads((out / "metrics.json").read_bytes())["model"]
    except (OSError, ValueError, KeyError, TypeError):
        there = model
    if there != model:
        raise UserError(
            f"--out {out} holds the evaluation of another model, {there}",
            fix="choose another folder, or delete that one",
        )
    out.mkdir(parents=True, exist_ok=True)


def _evaluate(
    model: str,
    data: str,
    traces: Sequence[Trace],
    limits: _Limits,
    chat_template: str | None,
    spec: Any,
) -> tuple[list[Record], dict[str, str]]:
    """Records of the evaluated turns, and the prompt text of each by sample id."""
    import torch

    from tooltune.evaluate.prepare import prepare_samples, render_samples
    from tooltune.evaluate.run import GenerationOptions, generation_stop_ids, run_samples
    from tooltune.models.load import check_vocabulary, load_model, load_tokenizer
    from tooltune.render.turns import Renderer

    tokenizer = load_tokenizer(model, chat_template=chat_template)
    renderer = Renderer(tokenizer, spec)
    with working("rendering the prompts"):
        samples = render_samples(traces, renderer, include_abstain=limits.abstain)
    samples = samples[: limits.max_samples]
    _require_turns(samples, data, traces, renderer)
    on_gpu = torch.cuda.is_available()
    with working(f"loading {model}"):
        loaded = load_model(
            model,
            dtype=torch.bfloat16 if on_gpu else torch.float32,
            device="cuda" if on_gpu else "cpu",
        )
    check_vocabulary(loaded, tokenizer)
    options = GenerationOptions(
        max_new_tokens=limits.max_new_tokens,
        stop_ids=generation_stop_ids(tokenizer, loaded, renderer.stop_ids),
        call_format=renderer.profile.call_format,
    )
    prepared = prepare_samples(samples, max_prompt_tokens=limits.max_prompt_tokens)
    with counting("generated turns") as progress:
        records = run_samples(loaded, tokenizer, prepared, options, on_progress=progress)
    return records, {s.sample_id: s.turn.prompt_text for s in samples if s.turn is not None}


def _require_turns(
    samples: Sequence[EvalSample], data: str, traces: Sequence[Trace], renderer: Renderer
) -> None:
    """Raise UserError where nothing can be generated, with the renderer's reasons."""
    from tooltune.errors import UserError
    from tooltune.render.representable import RowRejected

    if any(sample.turn is not None for sample in samples):
        return
    if not samples:
        raise UserError(
            f"{data} has no turn to score: none of its {len(traces)} traces has tools and an "
            "assistant turn after the first message",
            fix="give traces with tools",
        )
    lines = []
    for code, count in Counter(sample.skip_reason for sample in samples).most_common(3):
        first = next(sample.trace for sample in samples if sample.skip_reason == code)
        try:
            renderer.render(first)
        except RowRejected as rejection:
            lines.append(f"  {count} x {code}, first {first.source}: {rejection.reason}")
    raise UserError(
        f"{data} has no turn that this model can be asked for:\n" + "\n".join(lines),
        fix="mend the data, or give --chat-template a Jinja file that can express it",
    )
