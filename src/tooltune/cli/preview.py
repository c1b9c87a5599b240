"""`tooltune preview`: exactly what is trained, token by token, and why."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from tooltune.cli.options import ChatTemplate, ChatTemplateKwargs, read_kwargs
from tooltune.cli.output import (
    command_line,
    console,
    help_text,
    many,
    print_json,
    print_next,
    print_text,
    printable,
    user_errors,
    working,
)
from tooltune.cli.page import SHOWN
from tooltune.cli.source import config_of, trace_of_row

if TYPE_CHECKING:
    from tooltune.config.schema import Config
    from tooltune.render.explain import ExplainedToken

    Sequences = list[list[ExplainedToken]]

HELP = help_text(
    "Show what exactly is trained for one row: every token, its turn, and the reason.",
    "tooltune preview traces.jsonl --model Qwen/Qwen2.5-3B-Instruct",
    "tooltune preview my.yaml --row 7",
    "tooltune preview traces.jsonl --model builtin:smollm2-135m-instruct --raw",
    "tooltune preview traces.jsonl --model Qwen/Qwen3-4B --html preview.html",
    remark="A config shows its training data with its model, template and flags. Where the chat "
    "template rewrites history between turns, a row gives several sequences.",
)


@user_errors
def command(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA_OR_CONFIG",
            help="JSON or JSONL file of traces, a hub data set (OWNER/NAME), or a YAML config.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Hub id, local directory, or builtin:NAME. Needed with data."
        ),
    ] = None,
    row: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Row of the data, counted from 0; by default the first that is a trace.",
        ),
    ] = None,
    chat_template: ChatTemplate = None,
    chat_template_kwargs: ChatTemplateKwargs = None,
    train_on_last_turn_only: Annotated[
        bool, typer.Option("--train-on-last-turn-only", help="Loss on the last turn alone.")
    ] = False,
    mask_reasoning_content: Annotated[
        bool,
        typer.Option("--mask-reasoning-content", help="Reasoning stays, but carries no loss."),
    ] = False,
    drop_history_reasoning_content: Annotated[
        bool,
        typer.Option(
            "--drop-history-reasoning-content",
            help="Prompts show no reasoning from before the last user message.",
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page of many rows, to be read in a browser."),
    ] = None,
    rows: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --html: the first N rows of the data.")
    ] = SHOWN,
    raw: Annotated[
        bool, typer.Option("--raw", help="One token a line: tab separated, with a heading.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the tokens as JSON.")] = False,
) -> None:
    from tooltune.errors import UserError

    outputs = [name for name, on in (("raw", raw), ("json", json), ("html", html)) if on]
    if len(outputs) > 1:
        both = " and ".join(f"--{name}" for name in outputs)
        raise UserError(f"{both} are different outputs", fix="leave one out")
    flags = {
        "model.chat_template": chat_template,
        "model.chat_template_kwargs": chat_template_kwargs
        and jsonlib.dumps(read_kwargs(chat_template_kwargs)),
        "dataset.train_on_last_turn_only": train_on_last_turn_only and "true",
        "dataset.mask_reasoning_content": mask_reasoning_content and "true",
        "dataset.drop_history_reasoning_content": drop_history_reasoning_content and "true",
    }
    overrides = [*context.args, *(f"--{key}={value}" for key, value in flags.items() if value)]
    config = config_of("preview", data, model, overrides)
    if html is not None:
        _write_html(config, data, html, rows)
        return
    row, tokenizer, sequences = _explained(config, data, row)
    if json:
        plain = [[asdict(token) for token in sequence] for sequence in sequences]
        print_json({"data": data, "row": row, "sequences": plain})
        return
    if raw:
        _print_raw(sequences)
        return
    _print_header(data, row, sequences)
    for number, sequence in enumerate(sequences):
        if len(sequences) > 1:
            console.rule(f"sequence {number + 1} of {len(sequences)}", style="dim")
        _print_marked(sequence, tokenizer)
    again = [data, *(["--model", model] if model else []), *overrides]
    print_next(
        [
            (command_line("tooltune", "preview", *again, "--row", row, "--raw"), "token by token"),
            (command_line("tooltune", "check", *again), "all rows at once"),
        ]
    )


def _write_html(config: Config, data: str, out: Path, limit: int) -> None:
    from tooltune.cli.page import Account, write_data_page
    from tooltune.models.load import load_tokenizer
    from tooltune.render.turns import Renderer
    from tooltune.traces.load import require_rows
    from tooltune.train.data import load_source, render_spec

    name = config.model.pretrained_model_name_or_path
    with working(f"reading {data} and rendering {many(limit, 'row')} as {name} would see it"):
        traces = require_rows(load_source(config.dataset, config.seed))
        tokenizer = load_tokenizer(name, chat_template=config.model.chat_template)
        renderer = Renderer(tokenizer, render_spec(config, tokenizer, date=None))
        account = Account(traces.rows_read, traces.format, traces.ledger)
        write_data_page(traces[:limit], account, renderer, out, name=data)
    print_text(f"wrote {out}: open it in a browser")


def _explained(config: Config, data: str, row: int | None) -> tuple[int, Any, Sequences]:
    """One row, by default the first that is a trace; the tokenizer; its explained sequences."""
    from tooltune.errors import UserError
    from tooltune.models.load import load_tokenizer
    from tooltune.render.explain import explain
    from tooltune.render.representable import RowRejected
    from tooltune.render.turns import Renderer
    from tooltune.traces.load import require_rows
    from tooltune.train.data import load_source, render_spec

    traces = load_source(config.dataset, config.seed)
    if row is None:
        first = require_rows(traces)[0].source
        row = 0 if first is None else first.row
    trace = trace_of_row(traces, data, row)
    name = config.model.pretrained_model_name_or_path
    tokenizer = load_tokenizer(name, chat_template=config.model.chat_template)
    spec = render_spec(config, tokenizer, date=None)
    try:
        rendered = Renderer(tokenizer, spec, mark_parts=True).render(trace)
    except RowRejected as rejection:
        raise UserError(
            f"{data}:{row} cannot be trained exactly ({rejection.code}): {rejection.reason}",
            fix="mend that row of the data, or choose another with --row",
        ) from rejection
    return row, tokenizer, explain(rendered, tokenizer, spec)


def _print_header(data: str, row: int, sequences: Sequences) -> None:
    tokens = sum(len(sequence) for sequence in sequences)
    trained = sum(token.weight > 0 for sequence in sequences for token in sequence)
    turns = {token.turn for sequence in sequences for token in sequence} - {None}
    console.print(
        f"{escape(printable(data))}:{row}  {many(len(turns), 'assistant turn')} in "
        f"{many(len(sequences), 'sequence')}: {tokens} tokens, [bold green]{trained} trained[/], "
        f"{tokens - trained} context"
    )
    if len(sequences) > 1:
        console.print(
            "[dim]the chat template rewrites history between turns, so they are trained as "
            "separate sequences[/]"
        )
    if _in_colour():
        console.print(
            "[bold green]green[/] is trained, [dim]dim[/] is context, "
            "[yellow]yellow[/] is the assistant's but carries no loss"
        )
    else:
        console.print("⟦turn N: …⟧ opens what the assistant says, ⟦context⟧ what it only reads")
    console.print()


def _in_colour() -> bool:
    return console.color_system is not None and not console.no_color


def _print_marked(sequence: list[ExplainedToken], tokenizer: Any) -> None:
    """The text, with a mark wherever another turn begins or the reason changes.

    Tokens are decoded in runs: a character may be spread over several.
    """
    text = Text()
    for (turn, reason), run in groupby(sequence, key=lambda token: (token.turn, token.reason)):
        tokens = list(run)
        if turn is not None:
            text.append(f"⟦turn {turn}: {reason}⟧", style="bold reverse")
        elif text and not _in_colour():
            text.append("⟦context⟧")
        style = "bold green" if tokens[0].weight > 0 else "dim" if turn is None else "yellow"
        ids = [token.id for token in tokens]
        text.append(printable(tokenizer.decode(ids, skip_special_tokens=False)), style=style)
    console.print(text)


def _print_raw(sequences: Sequences) -> None:
    """Tab-separated lines; `repr` shows white space and control characters as escapes."""
    typer.echo("sequence\tindex\tid\ttext\tturn\tweight\treason")
    for number, sequence in enumerate(sequences):
        for index, token in enumerate(sequence):
            turn = "" if token.turn is None else token.turn
            text = printable(repr(token.text))
            fields = (number, index, token.id, text, turn, f"{token.weight:g}", token.reason)
            typer.echo("\t".join(map(str, fields)))
