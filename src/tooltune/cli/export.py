"""`tooltune export`: a checkpoint as others load and serve it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from tooltune.cli.output import (
    EXIT_FAILED,
    command_line,
    console,
    counting,
    errors,
    help_text,
    print_json,
    print_next,
    print_text,
    printable,
    say,
    user_errors,
    working,
)

if TYPE_CHECKING:
    from tooltune.export.gguf import GgufPlan
    from tooltune.export.run import Exported
    from tooltune.export.same_calls import Question
    from tooltune.export.source import Source

HELP = help_text(
    "Write a checkpoint as a folder that others load: model or adapter, card, serve commands.",
    "tooltune export runs/my --out exports/my",
    "tooltune export runs/my/checkpoints/LATEST --out exports/my --selftest auto",
    "tooltune export runs/my --adapter --out exports/my-adapter",
    "tooltune export runs/my --out exports/my --gguf q8_0 --llama-cpp llama.cpp",
    "tooltune export runs/my --out exports/my --push OWNER/NAME",
    remark="CKPT is a run (its best checkpoint by tool calls, else the latest), a checkpoint, a "
    "link to one, or the model/consolidated or model/adapter of one. The checkpoint is compared "
    "with its manifest first. SERVE.md in the folder has commands for vLLM, SGLang, llama.cpp and "
    "transformers; nothing is uploaded unless --push says so.",
)


@user_errors
def command(
    ckpt: Annotated[
        Path, typer.Argument(metavar="CKPT", help="Run, checkpoint, or model in a checkpoint.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder to write, new or empty; by default exports/ and a name."
        ),
    ] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The LoRA adapter by itself, in PEFT's format.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The adapter's base model, if it moved."),
    ] = None,
    gguf: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Also a GGUF file: f16, bf16, q8_0, q4_k_m, and so on."),
    ] = None,
    llama_cpp: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Checkout of llama.cpp; by default LLAMA_CPP_DIR, PATH."),
    ] = None,
    selftest: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Check that the export calls the same tools as the checkpoint: on traces, or on "
            "the run's own held-out prompts (auto).",
        ),
    ] = None,
    max_samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Prompts of the self-test.")
    ] = 16,
    family: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The call syntax, if the template does not tell it."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Upload to this repository of the hub, private."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="With --push: everybody may download it.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print export.json.")] = False,
) -> None:
    from tooltune.export.folder import check_out
    from tooltune.export.source import find_source, require_there

    _check_options(adapter, gguf, push, public, out)
    require_there(ckpt)
    with working(f"comparing {ckpt} with its manifest"):
        source = find_source(ckpt, base=base)
    folder = out or Path("exports") / (source.name + ("-adapter" if adapter else ""))
    check_out(folder, not_inside=source.checkpoint)

    from tooltune.export.gguf import plan_gguf
    from tooltune.export.run import export_model

    plan = plan_gguf(folder, source.name, gguf, llama_cpp) if gguf else None
    questions = _questions(source, selftest, max_samples) if selftest else None
    with working(f"writing {folder}"):
        exported = export_model(source, folder, adapter=adapter, family=family)
    failed = []
    if plan is not None:
        exported, problem = _gguf(exported, plan)
        failed += [problem] if problem else []
    if questions is not None:
        failed += _self_test(source, exported, questions)
    address = None
    if push and not failed:
        address = _push(exported, push, public)
    if json:
        print_json({"folder": str(folder), **exported.record})
    else:
        _show(source, exported, address)
    for problem in failed:
        errors.print(f"[bold red]failed:[/] {escape(printable(problem))}")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _check_options(
    adapter: bool, gguf: str | None, push: str | None, public: bool, out: Path | None
) -> None:
    """Raise UserError for what cannot be, before a checkpoint is read."""
    from tooltune.errors import UserError

    if adapter and gguf:
        raise UserError(
            "--gguf is made of the merged model, and --adapter leaves that out",
            fix="leave one of them out",
        )
    if public and not push:
        raise UserError("--public says who may download what --push sends", fix="give --push REPO")
    if gguf:
        from tooltune.export.gguf import check_type

        check_type(gguf)
    if push:
        from tooltune.export.hub import check_repo

        check_repo(push)
    if out is not None:
        from tooltune.export.folder import check_out

        check_out(out)


def _questions(source: Source, selftest: str, count: int) -> tuple[list[Question], str]:
    from tooltune.cli.source import source_keys
    from tooltune.errors import UserError
    from tooltune.export.same_calls import data_questions, recorded_questions

    if selftest != "auto":
        with working(f"reading {selftest}"):
            return data_questions(source_keys(selftest), count), Path(selftest).name
    if source.run is None:
        raise UserError(
            f"--selftest auto: {source.given} belongs to no run, whose held-out prompts could be "
            "asked",
            fix="name data: --selftest test.jsonl",
        )
    return recorded_questions(source.run, count)


def _gguf(exported: Exported, plan: GgufPlan) -> tuple[Exported, str | None]:
    """Make the file, or say how it is made; the problem where it was not."""
    from tooltune.export.gguf import install_commands, make_gguf
    from tooltune.export.run import note_gguf

    if plan.missing:
        say(f"llama.cpp is not at hand ({', '.join(plan.missing)} not found); to make the file:")
        commands = [
            *install_commands(quantised=plan.between is not None),
            *(command_line(*words) for words in plan.commands),
        ]
        for line in commands:
            say(f"  {line}")
        return exported, f"{plan.file.name} was not made: {', '.join(plan.missing)} not found"
    with working(f"converting to {plan.file.name}"):
        problem = make_gguf(plan)
    if problem is not None:
        return exported, f"{plan.file.name} was not made: {problem}"
    return note_gguf(exported, plan.file), None


def _self_test(
    source: Source, exported: Exported, questions: tuple[list[Question], str]
) -> list[str]:
    from tooltune.export.run import note_in_record
    from tooltune.export.same_calls import compare_calls

    asked, where = questions
    evaluation = source.config.get("tool_call_eval")
    limit = evaluation.get("max_new_tokens") if isinstance(evaluation, dict) else None
    with counting("self-test") as progress:
        result = compare_calls(
            source,
            exported.folder,
            asked,
            adapter=exported.adapter,
            call_format=exported.call_format,
            max_new_tokens=int(limit or 256),
            on_progress=progress,
        )
    note_in_record(exported, selftest={"prompts_of": where, **result})
    if result["passed"]:
        return []
    differ = result["prompts"] - result["same_calls"]
    first = result["differences"][0]
    return [
        f"the export calls other tools than the checkpoint on {differ} of {result['prompts']} "
        f"prompts; first {first['sample_id']}: {first['checkpoint']} became {first['export']}"
    ]


def _push(exported: Exported, repo: str, public: bool) -> str:
    from tooltune.export.hub import push_export

    base = exported.record["source"]["base"] or "unknown"
    with working(f"uploading to {repo}"):
        return push_export(exported.folder, repo, public=public, base_name=str(base))


def _show(source: Source, exported: Exported, address: str | None) -> None:
    from tooltune.export.serve import serve_commands

    record = exported.record
    size = sum(file["size"] for file in record["files"].values()) / 1e6
    of = record["source"]
    chosen = f", chosen by {of['chosen_by']}" if of["chosen_by"] else ""
    step = f"step {of['step']} of {of['run']}{chosen}, " if of["step"] is not None else ""
    checked = "equal to its manifest" if of["verified"] else "in no checkpoint, so not verified"
    kind = {"copied": record["kind"], "merged": "merged from adapter and base"}[record["made"]]
    print_text(f"exported: {exported.folder} ({kind}, {size:,.1f} MB; {step}{checked})")
    if "selftest" in record:
        _show_self_test(record["selftest"])
    if address is not None:
        print_text(f"uploaded: {address}")
    for command in serve_commands(exported.served):
        if command.lines:
            console.print(f"\n[bold]{command.server}[/]")
            print_text(f"  {command.text.replace(chr(10), chr(10) + '  ')}")
        for note in command.notes:
            print_text(f"  # {command.server + ': ' if not command.lines else ''}{note}")
    print_next(_next(source, exported))


def _show_self_test(result: dict[str, Any]) -> None:
    same = "the same" if result["passed"] else "NOT the same"
    print_text(
        f"self-test: {same} calls as the checkpoint on {result['same_calls']} of "
        f"{result['prompts']} held-out prompts ({result['prompts_with_calls']} call a tool; the "
        f"same prompt tokens on {result['same_prompts']}, the same answer tokens on "
        f"{result['same_tokens']})"
    )


def _next(source: Source, exported: Exported) -> list[tuple[str, str]]:
    folder = exported.folder
    commands = [
        (command_line("cat", folder / "SERVE.md"), "how to serve it, and to measure the server")
    ]
    if "selftest" not in exported.record and source.run is not None:
        again = folder.with_name(f"{folder.name}-tested")
        words: list[str | Path] = ["tooltune", "export", source.given, "--out", again]
        words += ["--selftest", "auto"]
        words += ["--adapter"] if exported.adapter else []
        commands.append((command_line(*words), "check that it answers as the checkpoint"))
    if not exported.adapter:
        look = ("tooltune", "eval", "--model", folder, "--data", "DATA", "--row", 0, "--print")
        commands.append((command_line(*look), "watch it answer"))
    return commands
