"""`tooltune convert`: any format to canonical OpenAI JSON lines, or to token ids and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tooltune.cli.output import (
    command_line,
    help_text,
    print_json,
    print_next,
    print_text,
    user_errors,
    working,
)
from tooltune.cli.source import config_of, is_config, say_what_was_read

if TYPE_CHECKING:
    from tooltune.config.schema import Config
    from tooltune.traces.load import Traces

HELP = help_text(
    "Write traces of any format as OpenAI chat rows, or as token ids and labels.",
    "tooltune convert traces.json --out traces.jsonl",
    "tooltune convert logs.jsonl --out calls.jsonl --arguments string",
    "tooltune convert traces.json --out train.parquet --tokenized \\\n"
    "      --model Qwen/Qwen2.5-3B-Instruct",
    remark="Each line is checked to read back as the trace it was written from. Rows that cannot "
    "be used go to OUT.ledger.jsonl with the reason. --tokenized writes input_ids, labels (-100 "
    "where nothing is learnt) and attention_mask, as TRL and Axolotl take them.",
)

_NOT_LINES = (".parquet", ".arrow", ".feather", ".gz", ".zst", ".zstd")


@user_errors
def command(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A file of traces, a hub data set (OWNER/NAME), or a YAML config."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The file to write: .jsonl, or .parquet with --tokenized."
        ),
    ],
    format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Trace format; recognised if left out.")
    ] = None,
    arguments: Annotated[
        str,
        typer.Option(
            metavar="FORM",
            help="Arguments of calls: object, as chat templates read them; or string, as OpenAI "
            "takes them.",
        ),
    ] = "object",
    tokenized: Annotated[
        bool, typer.Option("--tokenized", help="Write token ids and labels as Parquet.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Whose template and tokenizer: with --tokenized."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the account as JSON.")] = False,
) -> None:
    from tooltune.cli.findings import check_outputs
    from tooltune.errors import UserError

    if arguments not in ("object", "string"):
        raise UserError(f"--arguments {arguments}: no such form", fix="write object or string")
    check_outputs([out])
    if tokenized != (out.suffix == ".parquet") and (tokenized or out.suffix in _NOT_LINES):
        kind = "Parquet" if tokenized else "JSON lines"
        name = out.with_suffix(".parquet" if tokenized else ".jsonl")
        raise UserError(
            f"--out {out} is to hold {kind}, and is named otherwise", fix=f"--out {name}"
        )
    given = [*context.args, *([f"--dataset.format={format}"] if format else [])]
    if tokenized:
        account = _write_tokens(config_of("convert", data, model, given), out)
    else:
        if model is not None:
            raise UserError("--model has no effect on OpenAI rows", fix="add --tokenized")
        account = _write_rows(_config(data, given), out, arguments)  # type: ignore[arg-type]
    if json:
        print_json(account)
        return
    print_text(f"wrote {out}: " + ", ".join(f"{n:,} {what}" for what, n in account.items()))
    if not tokenized:
        example = "builtin:smollm2-135m-instruct"
        print_next([(command_line("tooltune", "check", out, "--model", example), "what is in it")])


def _config(data: str, given: list[str]) -> Config:
    """The config whose training data is DATA; a model is named only to complete it."""
    name = None if is_config(data) else "unused"
    return config_of("convert", data, name, given)


def _write_rows(config: Config, out: Path, arguments: Literal["object", "string"]) -> Any:
    from tooltune.traces.convert import write_canonical

    traces = _read(config)
    rows = write_canonical(traces, out, arguments)
    _write_ledger(traces, out)
    return {
        "rows read": traces.rows_read,
        "traces written": rows,
        "rows rejected": len(traces.ledger),
    }


def _write_tokens(config: Config, out: Path) -> Any:
    from tooltune.models.load import load_tokenizer
    from tooltune.render.tokenized import write_parquet
    from tooltune.render.turns import Renderer, render_traces
    from tooltune.train.data import render_spec

    traces = _read(config)
    model = config.model
    tokenizer = load_tokenizer(
        model.pretrained_model_name_or_path, chat_template=model.chat_template
    )
    with working("rendering"):
        renderer = Renderer(tokenizer, render_spec(config, tokenizer))
        rendered = render_traces(renderer, traces, traces.ledger)
    counts = write_parquet(rendered, out)
    _write_ledger(traces, out)
    return {"rows read": traces.rows_read, **counts, "rows rejected": len(traces.ledger)}


def _read(config: Config) -> Traces:
    from tooltune.traces.load import require_rows
    from tooltune.train.data import load_source

    with working("reading"):
        traces = require_rows(load_source(config.dataset, config.seed))
    say_what_was_read(traces)
    return traces


def _write_ledger(traces: Traces, out: Path) -> None:
    if traces.ledger.rejections:
        traces.ledger.write(out.with_name(out.name + ".ledger.jsonl"))
