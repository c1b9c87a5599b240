"""The options of `tooltune eval`, and what their texts mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tooltune.errors import UserError

if TYPE_CHECKING:
    from tooltune.evaluate.engines.types import Sampling
    from tooltune.evaluate.run import EvalOptions
    from tooltune.evaluate.scoring import ScoringOptions
    from tooltune.evaluate.server import ServerOptions

MAX_NEW_TOKENS = 256
_WHAT, _GENERATION, _SERVER, _SCORES = "What is asked", "Generation", "Server", "Scores"

Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Hub id, local directory, or builtin:NAME; of a server, the name it serves.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA", help="JSON or JSONL file of traces, or a hub data set (OWNER/NAME)."
    ),
]
Suite = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:PARTS",
        help="A public test suite instead of data, such as bfcl:simple_python,live_*.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write report.html, metrics.json, samples.jsonl, ledger.jsonl there, and "
        "outputs.jsonl as they come.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Throw away what --out holds, and begin afresh.")
]
Rescore = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="Score an evaluation again, without a model; given several times, the shards of "
        "one become one in --out.",
    ),
]
Split = Annotated[
    str,
    typer.Option(
        metavar="SPLIT",
        help="Rows to use: train, train[:100], train[90%:].",
        rich_help_panel=_WHAT,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Trace format; recognised if left out.", rich_help_panel=_WHAT
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "--max-samples",
        metavar="N",
        min=1,
        help="Score the first N turns only.",
        rich_help_panel=_WHAT,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Every N-th turn from the I-th, counted from 0.",
        rich_help_panel=_WHAT,
    ),
]
Row = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, help="Only this row of the data, from 0.", rich_help_panel=_WHAT
    ),
]
MaxPromptTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Turns with longer prompts are skipped, and count as wrong.",
        rich_help_panel=_WHAT,
    ),
]
Abstain = Annotated[
    bool,
    typer.Option(
        "--abstain/--no-abstain",
        help="Also score turns that should not call.",
        rich_help_panel=_WHAT,
    ),
]
SkipFailedCalls = Annotated[
    bool,
    typer.Option(
        "--skip-failed-calls",
        help="Leave out calls that failed and that a later one mended.",
        rich_help_panel=_WHAT,
    ),
]
ExcludeBroken = Annotated[
    bool,
    typer.Option(
        "--exclude-broken",
        help="Leave out, and count, turns whose ground truth or tools cannot be judged.",
        rich_help_panel=_WHAT,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="ENGINE",
        help="What generates. hf: this process; openai: a server.",
        rich_help_panel=_GENERATION,
    ),
]
MaxNewTokens = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Generation budget of a turn, in tokens.",
        rich_help_panel=_GENERATION,
    ),
]
DoSample = Annotated[
    bool,
    typer.Option(
        "--do-sample",
        help="Draw tokens. --temperature, --top-p and --top-k imply it.",
        rich_help_panel=_GENERATION,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(metavar="T", help="Above 0; 1 if left out.", rich_help_panel=_GENERATION),
]
TopP = Annotated[
    float | None,
    typer.Option(
        metavar="P", help="Of the likeliest tokens, this share.", rich_help_panel=_GENERATION
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(metavar="K", help="The K likeliest tokens.", rich_help_panel=_GENERATION),
]
Seed = Annotated[
    int, typer.Option(metavar="N", min=0, help="Of sampling.", rich_help_panel=_GENERATION)
]
Repeats = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Answers to each turn, for pass@k; when sampling.",
        rich_help_panel=_GENERATION,
    ),
]
RaiseOnCudaOom = Annotated[
    bool,
    typer.Option(
        "--raise-on-cuda-oom/--skip-on-cuda-oom",
        help="Whether a turn that GPU memory cannot hold ends the evaluation.",
        rich_help_panel=_GENERATION,
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Such as http://localhost:8000/v1.", rich_help_panel=_SERVER),
]
ServerMode = Annotated[
    str,
    typer.Option(
        metavar="MODE",
        help="chat: the server renders and parses; completion: we do.",
        rich_help_panel=_SERVER,
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Whose tokenizer and template make the prompts of completion mode.",
        rich_help_panel=_SERVER,
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        metavar="VAR",
        help="Environment variable with the key; OPENAI_API_KEY if left out.",
        rich_help_panel=_SERVER,
    ),
]
Concurrency = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="Requests at a time.", rich_help_panel=_SERVER),
]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", help="Of one request.", rich_help_panel=_SERVER)
]
Parser = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Read calls in this family's syntax, not in the template's own.",
        rich_help_panel=_SCORES,
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        metavar="MODE",
        help="strict: a call is what the syntax says; recover: mend what is plain.",
        rich_help_panel=_SCORES,
    ),
]
Matching = Annotated[
    str,
    typer.Option(
        metavar="HOW",
        help="Pair calls with the truth: optimal, or positional as the reference.",
        rich_help_panel=_SCORES,
    ),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=VALUE",
        help="Exit with code 1 if it is lower; may be given several times.",
        rich_help_panel=_SCORES,
    ),
]
FailIfWorseThan = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Exit with code 1 if accuracy or abstain_accuracy is significantly worse than in "
        "that evaluation of the same samples (p < 0.05 by conversation).",
        rich_help_panel=_SCORES,
    ),
]
Print = Annotated[
    bool, typer.Option("--print", help="Print prompt, output, calls and verdict of each turn.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")]


def scoring(parser: str | None, mode: Any, matching: Any) -> ScoringOptions:
    from tooltune.evaluate.scoring import ScoringOptions

    return ScoringOptions(parser, mode, matching)


def sampling(
    do_sample: bool, temperature: float | None, top_p: float | None, top_k: int | None
) -> Sampling | None:
    from tooltune.evaluate.run import sampling_of

    if not do_sample and temperature is top_p is top_k is None:
        return None
    return sampling_of(
        1.0 if temperature is None else temperature,
        1.0 if top_p is None else top_p,
        0 if top_k is None else top_k,
    )


def shard(text: str | None) -> tuple[int, int] | None:
    from tooltune.evaluate.prepare import checked_shard

    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise UserError(f"--shard {text!r}", fix="write it as --shard 0/4, the first of four")
    return checked_shard(int(index), int(count))


def server(
    engine: str,
    base_url: str | None,
    mode: Any,
    model: str,
    tokenizer: str | None,
    api_key_env: str | None,
    concurrency: int,
    timeout: float,
) -> ServerOptions | None:
    """The server that is to be asked; None for a model in this process. Raises: UserError."""

    if engine not in ("hf", "openai"):
        raise UserError(f"--engine {engine}: no such engine", fix="use --engine hf or openai")
    if engine == "hf":
        if base_url is not None or tokenizer is not None:
            given = "--base-url" if base_url is not None else "--tokenizer"
            raise UserError(f"{given} is for a server", fix="add --engine openai, or leave it out")
        return None
    from tooltune.evaluate.server import ServerOptions, api_key_from_environment

    if base_url is None:
        raise UserError(
            "--engine openai needs to know where the server is",
            fix="give --base-url, such as http://localhost:8000/v1",
        )
    if mode == "completion" and tokenizer is None:
        raise UserError(
            "--server-mode completion renders the prompts here, and needs a tokenizer for that",
            fix="give --tokenizer, the hub id or folder of the model that is served",
        )
    return ServerOptions(
        base_url,
        model,
        api_key_from_environment(api_key_env),
        mode,
        concurrency=concurrency,
        timeout_s=timeout,
    )


def with_template_arguments(server: ServerOptions, kwargs: dict[str, Any] | None) -> ServerOptions:
    """In chat mode the server renders; vLLM, SGLang and llama.cpp take them by this key."""
    if server.mode != "chat" or not kwargs:
        return server
    return replace(server, extra_body={**server.extra_body, "chat_template_kwargs": kwargs})


def with_decoding(server: ServerOptions, options: EvalOptions) -> ServerOptions:
    """The same decoding as this process would do."""
    server = replace(server, max_new_tokens=options.max_new_tokens)
    sampling = options.sampling
    if sampling is None:
        return server
    top_k = {"top_k": sampling.top_k} if sampling.top_k else {}
    return replace(
        server,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        extra_body={**server.extra_body, **top_k},
    )
