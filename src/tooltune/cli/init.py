"""`tooltune init`: a commented config for data, written after looking at them."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tooltune.cli.output import (
    command_line,
    help_text,
    print_next,
    print_text,
    user_errors,
    working,
)
from tooltune.cli.places import require_writable, writing
from tooltune.cli.source import config_of, is_config, source_keys

if TYPE_CHECKING:
    from tooltune.config.initial import DataFacts
    from tooltune.config.schema import Config
    from tooltune.train.data import RunData

HELP = help_text(
    "Look at data and write a commented config for training a model on them.",
    "tooltune init traces.jsonl --model Qwen/Qwen2.5-3B-Instruct",
    "tooltune init traces.jsonl --model owner/model --out my.yaml",
)

_ROWS_LOOKED_AT = 100  # to tell the formats


@user_errors
def command(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A file of traces, or a hub data set (OWNER/NAME)."),
    ],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Hub id, local directory, or builtin:NAME.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The config to write; by default named after the data."),
    ] = None,
) -> None:
    from tooltune.config.initial import initial_config
    from tooltune.config.load import load_config
    from tooltune.errors import UserError

    if is_config(data):
        fix = command_line("tooltune", "check", data)
        raise UserError(f"{data} is a config already, and init looks at data", fix=fix)
    path = out or Path(f"{_stem(data)}.yaml")
    if path.exists():
        raise UserError(f"{path} exists", fix="name another file with --out")
    require_writable(path)
    with working(f"reading and rendering {data} as {model} would see it"):
        facts = _look_at(data, model)
    text = initial_config(facts, output_dir=f"runs/{path.stem}")
    with writing(path):
        path.write_text(text, encoding="utf-8")
    load_config(path)
    print_text(f"wrote {path}:\n\n{text}")
    print_next(
        [
            (command_line("tooltune", "check", path), "what is wrong with the data, and how long"),
            (command_line("tooltune", "preview", path), "what is trained, token by token"),
            (command_line("tooltune", "train", path), "train it"),
        ]
    )


def _stem(data: str) -> str:
    """`traces` of `data/traces.jsonl.gz`, of `owner/traces` and of `traces*.jsonl`."""
    return re.sub(r"[*?\[\]]", "", Path(data).name.split(".")[0]).strip("-_") or "tooltune"


def _look_at(data: str, model: str) -> DataFacts:
    from tooltune.config.initial import DataFacts
    from tooltune.models.load import load_tokenizer
    from tooltune.train.data import prepare_data

    config = config_of("init", data, model, [])
    tokenizer = load_tokenizer(model)
    prepared = prepare_data(config, tokenizer)
    calls = [turn for _, turn, is_call in _turns(prepared) if is_call]
    kwargs = _without_thinking(prepared)
    return DataFacts(
        source=source_keys(data),
        model=model,
        formats=_formats(config),
        rows_read=prepared.rows_read,
        traces=len(prepared.train),
        groups=len({key.group for key in prepared.train.keys}),
        call_turns=len(calls),
        answer_tokens=max((len(turn.completion_ids) for turn in calls), default=0),
        longest_tokens=max(
            len(turn.prompt_ids) + len(turn.completion_ids) for _, turn, _ in _turns(prepared)
        ),
        kwargs=kwargs,
        kwargs_reason="no trace reasons: without this an empty think block is learnt"
        if kwargs
        else "",
    )


def _turns(prepared: RunData) -> Any:
    """(rendered trace, turn, whether it calls tools) of every turn."""
    for row in prepared.train:
        for turn in row.turns:
            yield row, turn, bool(row.trace.messages[turn.index].tool_calls)


def _without_thinking(prepared: RunData) -> dict[str, Any]:
    """Template arguments that keep empty think blocks from being learnt, where they would be.

    None where a trace reasons: such data want the template to think.
    """
    import yaml

    from tooltune.render.lint import probe_thinking

    if any(message.reasoning for row in prepared.train for message in row.trace.messages):
        return {}
    thinking = probe_thinking(prepared.renderer)
    switch = None if thinking is None else thinking.switch
    return {} if switch is None else dict(yaml.safe_load(switch))


def _formats(config: Config) -> dict[str, str]:
    """Why the first rows were read as they were, by format."""
    from tooltune.traces.formats import detect
    from tooltune.traces.jsonio import RowError
    from tooltune.traces.source import iter_rows

    reasons: dict[str, str] = {}
    for _, value, _ in islice(iter_rows(config.dataset.trace_source(config.seed)), _ROWS_LOOKED_AT):
        try:
            found = detect(value)
        except RowError:
            continue
        reasons.setdefault(found.name, found.why)
    return reasons
