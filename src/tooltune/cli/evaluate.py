"""`tooltune eval`: tool-call accuracy of any model or checkpoint, or of a server."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooltune.cli import evaluate_options as opt
from tooltune.cli.evaluation import print_metrics, print_sample, say_how_it_went, say_what_next
from tooltune.cli.options import ChatTemplate, ChatTemplateKwargs, read_kwargs
from tooltune.cli.output import help_text, print_json, user_errors, working
from tooltune.cli.places import make_folder
from tooltune.cli.source import say_what_was_read, source_keys, trace_of_row

if TYPE_CHECKING:
    from tooltune.evaluate.evaluation_file import Record
    from tooltune.evaluate.scoring import ScoringOptions
    from tooltune.traces.ledger import Ledger

HELP = help_text(
    "Score a model's tool calls on held-out traces, by generation.",
    "tooltune eval --model Qwen/Qwen2.5-3B-Instruct --data test.jsonl \\\n      --out eval/base",
    "tooltune eval --model runs/my/checkpoints/LATEST/model/consolidated \\\n"
    "      --data test.jsonl --out eval/tuned",
    "tooltune eval --model builtin:smollm2-135m-instruct --data test.jsonl \\\n"
    "      --row 3 --print",
    "tooltune eval --engine openai --base-url http://localhost:8000/v1 \\\n"
    "      --model NAME --data test.jsonl --out eval/served",
    "tooltune eval --model Qwen/Qwen2.5-3B-Instruct \\\n"
    "      --suite bfcl:simple_python --limit 50 --out eval/bfcl",
    "tooltune eval --rescore eval/base --mode recover --out eval/base-recovered",
    remark="Decoding is greedy unless told otherwise. accuracy is the share of turns whose calls "
    "are all right, names and arguments, with none too many; turns that should not call are "
    "abstain_accuracy. Interrupted, the same command goes on in the same --out.",
)


@user_errors
def command(
    model: opt.Model = None,
    data: opt.Data = None,
    suite: opt.Suite = None,
    out: opt.Out = None,
    overwrite: opt.Overwrite = False,
    rescore: opt.Rescore = None,
    split: opt.Split = "train",
    format: opt.Format = None,
    limit: opt.Limit = None,
    shard: opt.Shard = None,
    row: opt.Row = None,
    max_prompt_tokens: opt.MaxPromptTokens = None,
    abstain: opt.Abstain = True,
    skip_failed_calls: opt.SkipFailedCalls = False,
    exclude_broken: opt.ExcludeBroken = False,
    engine: opt.Engine = "hf",
    chat_template: ChatTemplate = None,
    chat_template_kwargs: ChatTemplateKwargs = None,
    max_new_tokens: opt.MaxNewTokens = opt.MAX_NEW_TOKENS,
    do_sample: opt.DoSample = False,
    temperature: opt.Temperature = None,
    top_p: opt.TopP = None,
    top_k: opt.TopK = None,
    seed: opt.Seed = 0,
    repeats: opt.Repeats = 1,
    raise_on_cuda_oom: opt.RaiseOnCudaOom = True,
    base_url: opt.BaseUrl = None,
    server_mode: opt.ServerMode = "chat",
    tokenizer: opt.Tokenizer = None,
    api_key_env: opt.ApiKeyEnv = None,
    concurrency: opt.Concurrency = 8,
    timeout: opt.Timeout = 300.0,
    parser: opt.Parser = None,
    mode: opt.Mode = "strict",
    matching: opt.Matching = "optimal",
    fail_under: opt.FailUnder = None,
    fail_if_worse_than: opt.FailIfWorseThan = None,
    print_: opt.Print = False,
    json: opt.Json = False,
) -> None:
    from tooltune.cli.thresholds import Earlier, hold_to, read_thresholds
    from tooltune.errors import UserError

    if print_ and json:
        raise UserError("--print and --json both want the output", fix="leave one out")
    thresholds = read_thresholds(fail_under or [])
    earlier = Earlier.read(fail_if_worse_than)
    scoring = opt.scoring(parser, mode, matching)
    if rescore:
        if any(word is not None for word in (model, data, suite)):
            raise UserError("--rescore needs no --model and no --data", fix="leave them out")
        metrics, records = _rescore(rescore, out, scoring, exclude_broken)
        _show(metrics, records, {}, print_, json)
        hold_to(thresholds, metrics, earlier.gates(records, metrics["model"]))
        return
    if model is None or (data is None and suite is None):
        missing = "--model" if model is None else "--data"
        raise UserError(f"{missing} is missing", fix=f"give {missing}; see tooltune eval --help")
    if suite is not None and (data is not None or row is not None):
        given = "--data" if data is not None else "--row"
        raise UserError(f"--suite brings its own data: {given} is too much", fix="leave it out")

    from tooltune.cli.evaluate_run import Asked, Prompting, evaluate_here, evaluate_on_server
    from tooltune.evaluate.results import evaluation_metrics, write_evaluation
    from tooltune.evaluate.run import EvalOptions
    from tooltune.report.build import write_evaluation_report

    server = opt.server(
        engine, base_url, server_mode, model, tokenizer, api_key_env, concurrency, timeout
    )
    if server is not None and server.mode == "chat" and (chat_template or tokenizer):
        given = "--chat-template" if chat_template else "--tokenizer"
        raise UserError(
            f"{given}: in chat mode the server renders the prompts",
            fix="leave it out, or use --server-mode completion",
        )
    if server is not None and server.mode == "chat" and max_prompt_tokens is not None:
        raise UserError(
            "--max-prompt-tokens: in chat mode nobody here knows how long a prompt is",
            fix="leave it out, or use --server-mode completion",
        )
    options = EvalOptions(
        max_new_tokens=max_new_tokens,
        sampling=opt.sampling(do_sample, temperature, top_p, top_k),
        repeats=repeats,
        seed=seed,
        raise_on_cuda_oom=raise_on_cuda_oom,
        exclude_broken=exclude_broken,
        scoring=scoring,
    )
    asked = Asked(
        data=data or suite or "",
        limit=limit,
        shard=opt.shard(shard),
        max_prompt_tokens=max_prompt_tokens,
        abstain=abstain,
        skip_failed_calls=skip_failed_calls,
        out=out,
        overwrite=overwrite,
    )
    kwargs = None if chat_template_kwargs is None else read_kwargs(chat_template_kwargs)
    prompting = Prompting(tokenizer or model, chat_template, kwargs)
    if out is not None:
        _check_out(out, model, overwrite)
    read = _read_suite(suite) if suite is not None else _read_data(data or "", split, format, row)
    if server is None:
        done, prompts = evaluate_here(model, read.material, prompting, asked, options)
    else:
        server = opt.with_decoding(opt.with_template_arguments(server, kwargs), options)
        ours = prompting if server.mode == "completion" else None
        done, prompts = evaluate_on_server(server, read.material, ours, asked, options)
    done.excluded += read.excluded
    if out is None:
        n_excluded = len(done.excluded)
        metrics = evaluation_metrics(done.records, model_name=model, n_excluded=n_excluded)
    else:
        metrics = write_evaluation(out, done.records, model_name=model, excluded=done.excluded)
        read.ledger.write(out / "ledger.jsonl")
        write_evaluation_report(out)
    say_how_it_went(done)
    _show(metrics, done.records, prompts, print_, json)
    if row is None and data is not None and not json:
        repeated = {
            "--model": model,
            "--data": data,
            "--split": split if split != "train" and "dataset_name" in source_keys(data) else None,
            "--format": format,
            "--engine": engine if engine != "hf" else None,
            "--base-url": base_url,
            "--server-mode": server_mode if server_mode != "chat" else None,
            "--tokenizer": tokenizer,
            "--api-key-env": api_key_env,
            "--chat-template": chat_template,
            "--chat-template-kwargs": chat_template_kwargs,
            "--max-new-tokens": max_new_tokens if max_new_tokens != opt.MAX_NEW_TOKENS else None,
            "--parser": parser,
            "--mode": mode if mode != "strict" else None,
        }
        again = [str(word) for pair in repeated.items() if pair[1] is not None for word in pair]
        say_what_next(done.records, read.material, out, again)
    hold_to(thresholds, metrics, earlier.gates(done.records, model))


@dataclass(frozen=True, slots=True)
class _Read:
    """Traces of the data, or samples of a suite, and what had to be left out of either."""

    material: Sequence[Any]
    ledger: Ledger
    excluded: Sequence[Record] = ()


def _read_data(data: str, split: str, format: str | None, row: int | None) -> _Read:
    from tooltune.traces.load import load_traces, require_rows

    source = source_keys(data)
    with working(f"reading {data}"):
        traces = load_traces(
            source.get("path"), dataset_name=source.get("dataset_name"), split=split, format=format
        )
    require_rows(traces)
    say_what_was_read(traces)
    chosen = list(traces) if row is None else [trace_of_row(traces, data, row)]
    return _Read(chosen, traces.ledger)


def _read_suite(name: str) -> _Read:
    from tooltune.evaluate.suites import load_suite
    from tooltune.traces.ledger import Ledger

    with working(f"reading {name}"):
        suite = load_suite(name)
    excluded = [{"sample_id": key, "reason": reason} for key, reason in suite.excluded]
    return _Read(suite.samples, Ledger(), excluded)


def _show(
    metrics: dict[str, Any],
    records: Sequence[Record],
    prompts: dict[str, str],
    print_: bool,
    json: bool,
) -> None:
    if json:
        print_json(metrics)
    elif print_:
        for record in records:
            print_sample(record, prompts.get(record["sample_id"]))
    else:
        print_metrics(metrics)


def _rescore(
    folders: Sequence[Path], out: Path | None, scoring: ScoringOptions, exclude_broken: bool
) -> tuple[dict[str, Any], list[Record]]:
    from tooltune.cli.rescore import rescore

    if out is not None:
        make_folder(out)
    metrics, records, _ = rescore(folders, out, scoring, exclude_broken=exclude_broken)
    return metrics, records


def _check_out(out: Path, model: str, overwrite: bool) -> None:
    """Raise UserError, before the work and not after it, where results must not or cannot go."""
    from tooltune.errors import UserError

    if (out / "config.yaml").exists():
        raise UserError(
            f"--out {out} is the folder of a training run, whose ledger and report would be "
            "overwritten",
            fix="choose another folder",
        )
    generated = (out / "outputs.jsonl").exists()
    if (out / "samples.jsonl").exists() and not generated and not overwrite:
        raise UserError(
            f"--out {out} holds samples that were not generated there",
            fix="choose another folder, or give --overwrite to lose them",
        )

    try:
        there = jsonlib.loads((out / "metrics.json").read_bytes())["model"]
    except (OSError, ValueError, KeyError, TypeError):
        there = model
    if there != model and not overwrite:
        raise UserError(
            f"--out {out} holds the evaluation of another model, {there}",
            fix="choose another folder, or give --overwrite to lose that one",
        )
    make_folder(out)
