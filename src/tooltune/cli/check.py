"""`tooltune check`: a dry run without a GPU: what would be trained, dropped, and how long it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tooltune.cli.output import console, print_json, print_next, user_errors

if TYPE_CHECKING:
    from tooltune.config.schema import Config

HELP = """Check a config, or a data file for a model: rows, template, targets, lengths, steps, memory.

Examples:

  tooltune check my.yaml

  tooltune check data.jsonl --model Qwen/Qwen2.5-3B-Instruct"""

_EXAMPLES_SHOWN = 3


@user_errors
def command(
    context: typer.Context,
    config_or_data: Annotated[Path, typer.Argument(help="A YAML config, or a file of traces.")],
    model: Annotated[
        str | None, typer.Option(help="With a data file: whose template and tokenizer to use.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    from tooltune.models.load import load_tokenizer
    from tooltune.train.data import prepare_data
    from tooltune.train.estimate import describe_run

    config = _config(config_or_data, model, context.args)
    tokenizer = load_tokenizer(
        config.model.pretrained_model_name_or_path, chat_template=config.model.chat_template
    )
    data = prepare_data(config, tokenizer)
    findings = describe_run(config, data)
    if json:
        print_json(findings)
        return
    _print(findings)
    is_config = config_or_data.suffix in (".yaml", ".yml")
    name = config.model.pretrained_model_name_or_path
    traces = config_or_data if not is_config else config.dataset.path or "DATA"
    commands = [(f"tooltune preview {traces} --model {name}", "what is trained, token by token")]
    if is_config:
        commands.append((f"tooltune train {config_or_data}", "train it"))
    print_next(commands)


def _config(path: Path, model: str | None, overrides: list[str]) -> Config:
    from tooltune.config.load import load_config
    from tooltune.errors import UserError

    if path.suffix in (".yaml", ".yml"):
        if model is not None:
            overrides = [*overrides, f"--model.pretrained_model_name_or_path={model}"]
        return load_config(path, overrides)
    if model is None:
        raise UserError(
            f"{path} is data, and what is trained depends on the model's template and tokenizer",
            fix=f"tooltune check {path} --model MODEL (for example builtin:smollm2-135m-instruct)",
        )
    base: dict[str, Any] = {
        "model": model,
        "dataset": {"path": str(path)},
        "validation_dataset": None,
        "tool_call_eval": {"enabled": False},
    }
    return load_config(None, overrides, base=base)


def _print(findings: dict[str, Any]) -> None:
    rows, template, tokens = findings["rows"], findings["template"], findings["tokens"]
    console.print(
        f"[bold]rows[/]      {rows['read']} read, {rows['accepted']} accepted, "
        f"{sum(rows['rejected'].values())} rejected"
    )
    for code, count in rows["rejected"].items():
        console.print(f"          [yellow]{escape(code)}[/]: {count}")
        for example in rows["examples"][code][:_EXAMPLES_SHOWN]:
            console.print(f"            {escape(example)}", style="dim")
    console.print(
        f"[bold]split[/]     {findings['train_traces']} traces to train on, "
        f"{findings['held_out_traces']} held out, {findings['eval_turns']} turns to generate"
    )
    yes = {True: "yes", False: "[yellow]no[/]"}
    console.print(
        f"[bold]template[/]  tools {yes[template['tools']]}, calls {yes[template['tool_calls']]}, "
        f"parallel calls {yes[template['parallel_calls']]}, text beside calls "
        f"{yes[template['content_beside_calls']]}, results {template['tool_results']}, "
        f"reasoning {yes[template['reasoning']]}; turns end in "
        f"{escape(', '.join(sorted({s['text'] for s in template['stops'].values()})))}; calls read "
        f"by {template['call_format'] or '[yellow]no parser here[/]'}"
    )
    lengths = tokens["per_trace"]
    console.print(
        f"[bold]tokens[/]    {tokens['forest']:,} to run ({tokens['flat']:,} as flat sequences), "
        f"[green]{tokens['targets']:,} targets[/] ({tokens['targets'] / tokens['forest']:.0%}); "
        f"per trace median {lengths['median']}, 95 % {lengths['p95']}, longest {lengths['max']} "
        f"({escape(lengths['longest'])})"
    )
    steps = findings["steps"]
    console.print(
        f"[bold]steps[/]     {steps['total']} of {steps['global_batch_size']} traces "
        f"({steps['per_epoch']} an epoch)"
    )
    memory = findings["memory"]
    if memory is not None:
        console.print(
            f"[bold]memory[/]    about {memory['total_gib']:.1f} GiB: weights "
            f"{memory['weights_gib']:.1f}, trained state {memory['training_state_gib']:.1f}, "
            f"activations {memory['activations_gib']:.1f} (estimate)"
        )
