"""`tooltune check`: a dry run without a GPU: what would be trained, dropped, and how long it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tooltune.cli.output import (
    command_line,
    console,
    help_text,
    print_json,
    print_next,
    printable,
    user_errors,
    working,
)
from tooltune.cli.source import config_of, is_config

if TYPE_CHECKING:
    from tooltune.config.schema import Config

HELP = help_text(
    "Check a config, or data for a model: rows, template, targets, lengths, steps, memory.",
    "tooltune check my.yaml",
    "tooltune check traces.jsonl --model Qwen/Qwen2.5-3B-Instruct",
    "tooltune check my.yaml --dataset.path=other.jsonl --json",
    remark="Reads every row as training would, and loads no weights. Any key of the config can be "
    "overridden with --section.key=value.",
)

_EXAMPLES_SHOWN = 3


@user_errors
def command(
    context: typer.Context,
    config_or_data: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG_OR_DATA",
            help="A YAML config, a JSON or JSONL file of traces, or a hub data set (OWNER/NAME).",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Whose template and tokenizer to use: needed with data, replaces the config's.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    config = config_of("check", config_or_data, model, context.args)
    with working(f"reading and rendering {config_or_data} as {_model(config)} would see it"):
        from tooltune.models.load import load_tokenizer
        from tooltune.train.data import prepare_data
        from tooltune.train.estimate import describe_run

        tokenizer = load_tokenizer(_model(config), chat_template=config.model.chat_template)
        findings = describe_run(config, prepare_data(config, tokenizer))
    if json:
        print_json(findings)
        return
    _print(findings)
    again = [config_or_data, *context.args]
    if is_config(config_or_data):
        name = [] if model is None else [f"--model={model}"]
        print_next(
            [
                (
                    command_line("tooltune", "preview", *again, *name),
                    "what is trained, token by token",
                ),
                (command_line("tooltune", "train", *again, *name), "train it"),
            ]
        )
    else:
        words = ("tooltune", "preview", *again, "--model", _model(config))
        print_next([(command_line(*words), "what is trained, token by token")])


def _model(config: Config) -> str:
    return config.model.pretrained_model_name_or_path


def _print(findings: dict[str, Any]) -> None:
    _print_rows(findings)
    _print_template(findings["template"])
    tokens, steps, memory = findings["tokens"], findings["steps"], findings["memory"]
    lengths = tokens["per_trace"]
    _line(
        "tokens",
        f"{tokens['forest']:,} an epoch ({tokens['flat']:,} without sharing prefixes), "
        f"[green]{tokens['targets']:,} targets[/] ({tokens['targets'] / tokens['forest']:.0%}); "
        f"a trace: median {lengths['median']:,}, 95 % {lengths['p95']:,}, longest "
        f"{lengths['max']:,} ({_data(lengths['longest'])})",
    )
    _line(
        "steps",
        f"{steps['total']:,} of {steps['global_batch_size']} traces ({steps['per_epoch']:,} an "
        "epoch)",
    )
    if memory is not None:
        _line(
            "memory",
            f"about {memory['total_gib']:.1f} GiB: weights {memory['weights_gib']:.1f}, trained "
            f"state {memory['training_state_gib']:.1f}, activations "
            f"{memory['activations_gib']:.1f} (estimate)",
        )


def _print_rows(findings: dict[str, Any]) -> None:
    rows = findings["rows"]
    rejected = sum(rows["rejected"].values())
    _line("rows", f"{rows['read']:,} read, {rows['accepted']:,} accepted, {rejected:,} rejected")
    for code, count in rows["rejected"].items():
        console.print(f"          [yellow]{_data(code)}[/]: {count:,}")
        for example in rows["examples"][code][:_EXAMPLES_SHOWN]:
            console.print(f"            {_data(example)}", style="dim")
    _line(
        "split",
        f"{findings['train_traces']:,} traces to train on, {findings['held_out_traces']:,} held "
        f"out, {findings['eval_turns']:,} turns to generate",
    )


def _print_template(template: dict[str, Any]) -> None:
    yes = {True: "yes", False: "[yellow]no[/]"}
    ends = sorted({stop["text"] for stop in template["stops"].values()})
    parser = template["call_format"]
    reads = f"calls are read as {parser}" if parser else "[yellow]no parser here reads its calls[/]"
    _line(
        "template",
        f"tools {yes[template['tools']]}, calls {yes[template['tool_calls']]}, "
        f"parallel calls {yes[template['parallel_calls']]}, "
        f"text beside calls {yes[template['content_beside_calls']]}, "
        f"results {template['tool_results']}, reasoning {yes[template['reasoning']]}; "
        f"turns end in {_data(', '.join(ends))}; {reads}",
    )


def _line(name: str, text: str) -> None:
    """A finding under its name; `text` may hold markup."""
    console.print(f"[bold]{name:<10}[/]{text}")


def _data(text: str) -> str:
    """Text of unknown origin, to stand within markup."""
    return escape(printable(text))
