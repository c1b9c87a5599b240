"""`tooltune check`: a dry run without a GPU: what would be trained, dropped, and how long it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tooltune.cli.findings import (
    check_outputs,
    formats_found,
    look_at,
    mend,
    print_findings,
    print_formats,
    print_mended,
)
from tooltune.cli.likeness import describe_likeness, print_likeness
from tooltune.cli.output import (
    EXIT_FAILED,
    command_line,
    console,
    help_text,
    print_json,
    print_next,
    printable,
    say,
    tallying,
    user_errors,
    working,
)
from tooltune.cli.scale import check_shapes, describe_memory, gpu_counts, print_gpus
from tooltune.cli.server_prompt import check_prompts, print_prompts
from tooltune.cli.source import config_of, is_config

if TYPE_CHECKING:
    from tooltune.config.schema import Config
    from tooltune.traces.lint import LintReport
    from tooltune.traces.lint.rows import LintRows
    from tooltune.train.data import RunData

HELP = help_text(
    "Check data, alone or for a model, or a config: rows, findings, targets, lengths, memory.",
    "tooltune check traces.jsonl",
    "tooltune check my.yaml --dataset.path=other.jsonl --json",
    "tooltune check my.yaml --gpus 1,8,16 --offline-shapes",
    "tooltune check traces.jsonl --model Qwen/Qwen2.5-3B-Instruct",
    "tooltune check traces.jsonl --fix fixed.jsonl --fail-on error",
    "tooltune check traces.jsonl --model Qwen/Qwen2.5-3B-Instruct \\\n"
    "      --server http://localhost:8000/v1",
    remark="Reads every row as training would, and loads no weights. Any key of the config can be "
    "overridden with --section.key=value. With --fail-on, findings that bad make the exit code 1. "
    "--fix and --redact write new files of OpenAI rows (columns beside the conversation are not "
    "kept), and list each change in FILE.ledger.jsonl; given both, the redacted file is fixed too. "
    "Memory and speed of GPUs are estimates: docs/scaling.md says how they are made.",
)

_THRESHOLDS = ("error", "warning", "info", "never")
_COUNTED = {"absorbed": "requests that a longer one repeats"}
_EXAMPLE_MODEL = "builtin:smollm2-135m-instruct"


@user_errors
def command(
    context: typer.Context,
    config_or_data: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG_OR_DATA",
            help="A YAML config, a file of traces, or a hub data set (OWNER/NAME).",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Whose template and tokenizer to use; data without one are checked alone.",
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Trace format; recognised if left out.")
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="SEVERITY",
            help="Exit with code 1 if there are findings this bad: error, warning, info or never.",
        ),
    ] = "never",
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the rows with what is safe to repair repaired: exact copies dropped, ends "
            "without an answer cut, arguments encoded twice decoded, repeated tools merged.",
        ),
    ] = None,
    redact: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the rows with access keys and passwords as \\[REDACTED:kind]; e-mail "
            "addresses and the like stay.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a page: findings, lengths, and the first rows token by token. Needs a "
            "model or a config.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Compare the prompts of the first rows with those of an OpenAI-compatible server "
            "(http://localhost:8000/v1). Needs a model or a config; a key is read from "
            "OPENAI_API_KEY.",
        ),
    ] = None,
    server_model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model's name there; left out: the only one."),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="N,N",
            help="Numbers of GPUs to estimate memory and speed for; by default 1, 8, and those "
            "that are here.",
        ),
    ] = None,
    offline_shapes: Annotated[
        bool,
        typer.Option(
            "--offline-shapes",
            help="Only that estimate, from the model's shape: reads no data and no tokenizer, and "
            "needs no network for well-known models.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    from tooltune.errors import UserError
    from tooltune.traces.lint.rows import LintRows

    if fail_on not in _THRESHOLDS:
        known = ", ".join(_THRESHOLDS)
        raise UserError(f"--fail-on {fail_on}: no such severity", fix=f"write one of {known}")
    check_outputs([fix, redact, html])
    overrides = [*context.args, *([f"--dataset.format={format}"] if format else [])]
    alone = model is None and not is_config(config_or_data)
    if alone and html is not None:
        raise UserError(
            "--html shows what a model is trained on, and none is named",
            fix=f"name one, such as --model {_EXAMPLE_MODEL}",
        )
    if alone and server is not None:
        raise UserError(
            "--server compares prompts, and whose template and tokenizer make ours is not said",
            fix="name the served model's folder or hub id with --model",
        )
    if alone and (offline_shapes or gpus is not None):
        raise UserError(
            f"{'--offline-shapes' if offline_shapes else '--gpus'} is about training a model, and "
            "none is named",
            fix="name one, such as --model Qwen/Qwen2.5-3B, or give a config",
        )
    if gpus is not None:
        gpu_counts(gpus)  # a slip is told before the data are read
    config = config_of("check", config_or_data, "none" if alone else model, overrides)
    if offline_shapes:
        given = {"--fix": fix, "--redact": redact, "--html": html, "--server": server}
        named = [] if model is None else ["--model", model]
        check_shapes(config, gpus, given, [config_or_data, *named, *overrides], as_json=json)
        return
    rows = LintRows(config.dataset.trace_source(config.seed))
    if alone:
        with working(f"reading {config_or_data}"):
            facts, report = _describe_rows(rows)
    else:
        with working(f"reading and rendering {config_or_data} as {_model(config)} would see it"):
            facts, report = _describe_all(
                config, rows, config_or_data, html, server, server_model, gpus
            )
    facts = {**facts, "formats": formats_found(rows), "findings": report.to_dict()}
    written = mend(rows, fix, redact)
    if json:
        print_json({**facts, **({"written": written} if written else {})})
    else:
        _print(facts, report)
        print_mended(written)
        named = [] if model is None else ["--model", model]
        _print_next([config_or_data, *named, *overrides], alone, written)
    if report.reaches(fail_on):  # type: ignore[arg-type]
        raise typer.Exit(EXIT_FAILED)


def _describe_rows(rows: LintRows) -> tuple[dict[str, Any], LintReport]:
    """What data show without a model. Raises UserError where no row can be used."""
    from tooltune.traces.load import Traces, require_rows

    report = look_at(rows, None, rows.ledger)
    if not rows.rows_accepted:
        require_rows(Traces((), rows.ledger, rows.rows_read))
    counts = dict(rows.ledger.counts)
    facts = {"read": rows.rows_read, "accepted": rows.rows_accepted, "rejected": counts}
    return {"rows": facts}, report


def _describe_all(
    config: Config,
    rows: LintRows,
    name: str,
    html: Path | None,
    server: str | None,
    server_model: str | None,
    gpus: str | None,
) -> tuple[dict[str, Any], LintReport]:
    """What a run would do with the data, and the findings in them; both also as a page."""
    from tooltune.models.load import load_tokenizer
    from tooltune.traces.lint.rows import LintRows
    from tooltune.train.data import prepare_data
    from tooltune.train.preparation.build import Preparing
    from tooltune.train.sizing.estimate import describe_run

    tokenizer = load_tokenizer(_model(config), chat_template=config.model.chat_template)
    data = prepare_data(config, tokenizer, how=Preparing(tallying("rows prepared"), say))
    facts = describe_run(config, data) | {"near_overlaps": describe_likeness(data)}
    facts["memory"] = describe_memory(config, data, gpus)
    report = look_at(rows, data.renderer, data.ledger)
    if html is not None:
        _write_page(rows, data, report, name, html)
    if server is not None:
        traces = LintRows(rows.source)  # `rows` keeps the account of all of them
        facts["server"] = check_prompts(server, server_model, data.renderer, traces)
    return facts, report


def _write_page(rows: LintRows, data: RunData, report: LintReport, name: str, out: Path) -> None:
    from itertools import islice

    from tooltune.cli.page import SHOWN, Account, write_data_page
    from tooltune.traces.lint.rows import LintRows

    findings = [
        (
            item.severity,
            item.code,
            item.count,
            item.meaning,
            f"{item.examples[0].place} {item.examples[0].message}".strip(),
        )
        for item in report.codes
        if item.code not in data.ledger.counts  # the page has a table of these
    ]
    write_data_page(
        list(islice(LintRows(rows.source), SHOWN)),  # `rows` keeps the account of all of them
        Account(data.rows_read, ", ".join(rows.format_counts), data.ledger),
        data.renderer,
        out,
        name=name,
        lengths=[*data.train.forest_tokens.tolist(), *data.held_out.forest_tokens.tolist()],
        targets=[*data.train.targets.tolist(), *data.held_out.targets.tolist()],
        findings=findings,
    )
    say(f"wrote {out}: open it in a browser")


def _model(config: Config) -> str:
    return config.model.pretrained_model_name_or_path


def _print_next(again: list[str], alone: bool, written: dict[str, Any]) -> None:
    mended = [
        (command_line("tooltune", "check", file["file"]), "what is left in the new file")
        for file in written.values()
    ]
    seen = (command_line("tooltune", "preview", *again), "what is trained, token by token")
    if alone:
        words = ("tooltune", "check", *again, "--model", _EXAMPLE_MODEL)
        print_next([*mended, (command_line(*words), "what this model's template makes of it")])
    elif is_config(again[0]):
        print_next([*mended, seen, (command_line("tooltune", "train", *again), "train it")])
    else:
        print_next([*mended, seen])


def _print(facts: dict[str, Any], report: LintReport) -> None:
    rows = facts["rows"]
    rejected = sum(rows["rejected"].values())
    _line("rows", f"{rows['read']:,} read, {rows['accepted']:,} accepted, {rejected:,} rejected")
    changed = {name: n for name, n in rows.get("counts", {}).items() if n}
    left_out = changed.pop("not_sampled", 0)
    if changed:
        said = (
            f"{n:,} {_COUNTED.get(name, name.replace('_', ' '))}" for name, n in changed.items()
        )
        _line("of these", ", ".join(said))
    if left_out:
        _line("beside", f"{left_out:,} rows that the mixture did not sample")
    print_formats(facts["formats"])
    print_findings(report)
    if "template" in facts:
        _print_run(facts)


def _print_run(facts: dict[str, Any]) -> None:
    """What a run would do with the rows."""
    _line(
        "split",
        f"{facts['train_traces']:,} traces to train on, {facts['held_out_traces']:,} held "
        f"out, {facts['eval_turns']:,} turns to generate",
    )
    print_likeness(facts["near_overlaps"])
    if "server" in facts:
        print_prompts(facts["server"])
    _print_template(facts["template"])
    tokens, steps = facts["tokens"], facts["steps"]
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
    if facts["memory"] is not None:
        print_gpus(facts["memory"])


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
