"""`tooltune preview`: exactly what is trained, token by token, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tooltune.cli.output import console, print_json, print_next, user_errors

if TYPE_CHECKING:
    from tooltune.render.explain import ExplainedToken

HELP = """Show what exactly is trained for one row: every token, its turn, and the reason.

Examples:

  tooltune preview data.jsonl --model Qwen/Qwen2.5-3B-Instruct

  tooltune preview data.jsonl --model builtin:smollm2-135m-instruct --row 7 --raw"""


@user_errors
def command(
    data: Annotated[Path, typer.Argument(help="JSON or JSONL file of traces.")],
    model: Annotated[str, typer.Option(help="Hub id, local directory, or builtin:NAME.")],
    row: Annotated[int, typer.Option(help="Row of the file, counted from 0.")] = 0,
    chat_template: Annotated[
        str | None, typer.Option(help="Jinja file that overrides the tokenizer's template.")
    ] = None,
    train_on_last_turn_only: Annotated[bool, typer.Option("--train-on-last-turn-only")] = False,
    mask_reasoning_content: Annotated[bool, typer.Option("--mask-reasoning-content")] = False,
    drop_history_reasoning_content: Annotated[
        bool, typer.Option("--drop-history-reasoning-content")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="One token a line, tab separated.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the tokens as JSON.")] = False,
) -> None:
    from tooltune.errors import UserError
    from tooltune.models.load import load_tokenizer
    from tooltune.render.explain import explain
    from tooltune.render.representable import RowRejected
    from tooltune.render.spec import RenderSpec
    from tooltune.render.turns import Renderer
    from tooltune.traces.load import load_traces

    traces = load_traces(data)
    trace = next((t for t in traces if t.source and t.source.row == row), None)
    if trace is None:
        rejected = next((r for r in traces.ledger.rejections if r.row == row), None)
        if rejected is not None:
            raise UserError(f"row {row} was rejected as {rejected.code}: {rejected.reason}")
        raise UserError(f"{data} has no row {row}", fix=f"use 0 to {traces.rows_read - 1}")
    tokenizer = load_tokenizer(model, chat_template=chat_template)
    spec = RenderSpec(
        train_on_last_turn_only=train_on_last_turn_only,
        mask_reasoning_content=mask_reasoning_content,
        drop_history_reasoning_content=drop_history_reasoning_content,
    )
    try:
        rendered = Renderer(tokenizer, spec).render(trace)
    except RowRejected as rejection:
        raise UserError(
            f"{data}:{row} cannot be trained exactly ({rejection.code}): {rejection.reason}"
        ) from rejection
    sequences = explain(rendered, tokenizer, spec)
    if json:
        print_json([[_plain(token) for token in sequence] for sequence in sequences])
        return
    _print_header(str(data), row, sequences)
    for number, sequence in enumerate(sequences):
        if len(sequences) > 1:
            console.rule(f"sequence {number + 1} of {len(sequences)}", style="dim")
        (_print_raw if raw else _print_coloured)(sequence)
    if not raw:
        print_next(
            [
                (f"tooltune preview {data} --model {model} --row {row} --raw", "token ids"),
                (f"tooltune check {data} --model {model}", "all rows at once"),
            ]
        )


def _print_header(data: str, row: int, sequences: list[list[ExplainedToken]]) -> None:
    tokens = sum(len(sequence) for sequence in sequences)
    trained = sum(token.weight > 0 for sequence in sequences for token in sequence)
    turns = {token.turn for sequence in sequences for token in sequence} - {None}
    console.print(
        f"{data}:{row}  {len(turns)} assistant turns in {len(sequences)} sequence(s): "
        f"{tokens} tokens, [bold green]{trained} trained[/], {tokens - trained} context"
    )
    if len(sequences) > 1:
        console.print(
            "[dim]the chat template rewrites history between turns, so they are trained as "
            "separate sequences[/]"
        )
    console.print(
        "[bold green]green[/] is trained, [dim]dim[/] is context, "
        "[yellow]yellow[/] is the assistant's but carries no loss\n"
    )


def _print_coloured(sequence: list[ExplainedToken]) -> None:
    from rich.text import Text

    text = Text()
    turn: int | None = None
    for token in sequence:
        if token.turn is not None and token.turn != turn:
            text.append(f"⟦turn {token.turn}: {token.reason}⟧", style="bold reverse")
        turn = token.turn
        style = "bold green" if token.weight > 0 else "dim" if token.turn is None else "yellow"
        text.append(token.text, style=style)
    console.print(text)


def _print_raw(sequence: list[ExplainedToken]) -> None:
    typer.echo("index\tid\ttext\tturn\tweight\treason")
    for index, token in enumerate(sequence):
        turn = "" if token.turn is None else token.turn
        fields = (index, token.id, repr(token.text), turn, f"{token.weight:g}", token.reason)
        typer.echo("\t".join(map(str, fields)))


def _plain(token: ExplainedToken) -> dict[str, object]:
    return {
        "id": token.id,
        "text": token.text,
        "turn": token.turn,
        "weight": token.weight,
        "reason": token.reason,
    }
