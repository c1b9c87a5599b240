"""The `tooltune` command. Verbs live one per file and import what they need when they run."""

from __future__ import annotations

import typer

from tooltune.cli import (
    check,
    compare,
    convert,
    demo,
    evaluate,
    export,
    init,
    preview,
    schema,
    train,
)

# Dotted options such as --optimizer.lr=1e-5 are overrides of the config, which checks them.
_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    name="tooltune",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Fine-tune open models on the traces of an agent that calls tools, and measure that they "
    "now call them right.",
    epilog="Start with [bold]tooltune demo[/], or with data of your own: "
    "[bold]tooltune check traces.jsonl --model MODEL[/]. Each command has examples in its --help.",
)
app.command("demo", help=demo.HELP)(demo.command)
app.command("train", help=train.HELP, context_settings=_OVERRIDES)(train.command)
app.command("eval", help=evaluate.HELP)(evaluate.command)
app.command("compare", help=compare.HELP)(compare.command)
app.command("export", help=export.HELP)(export.command)
app.command("preview", help=preview.HELP, context_settings=_OVERRIDES)(preview.command)
app.command("check", help=check.HELP, context_settings=_OVERRIDES)(check.command)
app.command("init", help=init.HELP)(init.command)
app.command("schema", help=schema.HELP)(schema.command)
app.command("convert", help=convert.HELP, context_settings=_OVERRIDES)(convert.command)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from tooltune import __version__

        typer.echo(__version__)
        raise typer.Exit()


def main() -> None:
    """Entry point; exit code 0 done, 1 failed, 2 the user can fix it."""
    app(prog_name="tooltune")


if __name__ == "__main__":
    main()
