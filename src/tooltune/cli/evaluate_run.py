"""The work behind `tooltune eval`: what is asked, by which engine, and where outputs are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date as Date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooltune.cli.output import counting, many, say, working
from tooltune.errors import UserError

if TYPE_CHECKING:
    from tooltune.evaluate.prepare import Prepared
    from tooltune.evaluate.run import EvalOptions, Evaluation
    from tooltune.evaluate.samples import EvalSample
    from tooltune.evaluate.server import ServerOptions
    from tooltune.render.spec import RenderSpec
    from tooltune.render.turns import Renderer
    from tooltune.traces.types import Trace


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the data is asked, and where the outputs go.

    limit: the first so many turns. shard: `(index, count)`. out: None keeps nothing.
    """

    data: str
    limit: int | None = None
    shard: tuple[int, int] | None = None
    max_prompt_tokens: int | None = None
    abstain: bool = True
    skip_failed_calls: bool = False
    out: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Prompting:
    """How prompts are made here: whose tokenizer and template, and the template's arguments."""

    tokenizer: str
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


Material = Sequence["Trace"] | Sequence["EvalSample"]
"""Traces of which every turn is asked, or the samples of a suite, not yet rendered."""

Evaluated = tuple["Evaluation", dict[str, str]]
"""The evaluation, and the prompt text of each sample by its id."""


def evaluate_here(
    model: str, material: Material, prompting: Prompting, asked: Asked, options: EvalOptions
) -> Evaluated:
    """Generate with a model in this process. Raises: UserError."""
    import torch

    from tooltune.evaluate.fingerprint import weights_fingerprint
    from tooltune.evaluate.run import evaluate_model, generation_stop_ids
    from tooltune.models.load import check_vocabulary, load_model, load_tokenizer, resolve_model

    tokenizer = load_tokenizer(prompting.tokenizer, chat_template=prompting.chat_template)
    renderer, spec = _renderer(tokenizer, prompting, asked)
    prepared, prompts = _prepare(material, renderer, asked)
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    with working(f"loading {model}"):
        _refuse_damaged(resolve_model(model))
        loaded = load_model(model, dtype=dtype, device="cuda" if on_gpu else "cpu")
    check_vocabulary(loaded, tokenizer)
    place = resolve_model(model)
    of_hub = getattr(loaded.config, "_commit_hash", None)
    decides = {
        "engine": "hf",
        "model": model,
        "weights": weights_fingerprint(place) if isinstance(place, Path) else of_hub,
        "dtype": str(dtype).removeprefix("torch."),
        **_template_facts(tokenizer, spec),
        "stop_ids": sorted(generation_stop_ids(tokenizer, loaded, renderer.stop_ids)),
        **_decoding_facts(options),
    }
    with ExitStack() as stack:
        log = _open_log(stack, asked, decides)
        with counting("generated turns") as progress:
            try:
                done = evaluate_model(
                    loaded, tokenizer, renderer, prepared, options, log=log, on_progress=progress
                )
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"out of GPU memory: {str(error).splitlines()[0]}",
                    fix="give --max-prompt-tokens or --skip-on-cuda-oom; with --out the same "
                    "command goes on where it stopped",
                ) from error
    return done, prompts


def _refuse_damaged(place: Path | str) -> None:
    """Raise UserError for a model in a checkpoint whose files are not those that were saved."""
    from tooltune.train.checkpoints.manifest import verify_part

    if isinstance(place, str):
        return
    place = place.resolve()
    checkpoint, part = place.parent.parent, f"model/{place.name}"
    if problems := verify_part(checkpoint, part):
        raise UserError(
            f"checkpoint {checkpoint} is damaged: {'; '.join(problems[:3])}",
            fix="evaluate another checkpoint; if the change is meant, copy the model's folder out "
            "of the checkpoint and evaluate that",
        )


def evaluate_on_server(
    server: ServerOptions,
    material: Material,
    prompting: Prompting | None,
    asked: Asked,
    options: EvalOptions,
) -> Evaluated:
    """Generate with a server; `prompting` in completion mode only. Raises: UserError."""
    from tooltune.evaluate.prepare import Prepared, plain_samples, shard
    from tooltune.evaluate.run import evaluate_outputs
    from tooltune.evaluate.server_source import server_source

    facts: dict[str, Any] = {}
    call_format = None
    if prompting is None:
        samples, traces = _parts(material, asked)
        samples += plain_samples(traces, include_abstain=asked.abstain)
        prepared = [Prepared(s, None) for s in shard(samples[: asked.limit], asked.shard)]
        if not prepared:
            raise _nothing_to_score(asked, material)
        prompts = {item.sample.sample_id: _as_lines(item.sample) for item in prepared}
    else:
        from tooltune.models.load import load_tokenizer

        tokenizer = load_tokenizer(prompting.tokenizer, chat_template=prompting.chat_template)
        renderer, spec = _renderer(tokenizer, prompting, asked)
        prepared, prompts = _prepare(material, renderer, asked)
        call_format = renderer.profile.call_format
        texts = tuple(tokenizer.decode([stop]) for stop in renderer.stop_ids)
        server = replace(server, stop_ids=tuple(renderer.stop_ids), stop_texts=texts)
        facts = {**_template_facts(tokenizer, spec), "tokenizer": prompting.tokenizer}
    decides = {
        "engine": "openai",
        "model": server.model,
        "server_mode": server.mode,
        **facts,
        **_decoding_facts(options),
        "temperature": server.temperature,
        "extra_body": dict(server.extra_body),
    }
    source = server_source(server, sampled=options.sampling is not None)
    with ExitStack() as stack:
        log = _open_log(stack, asked, decides)
        with counting("generated turns") as progress:
            done = evaluate_outputs(source, prepared, options, call_format, log, progress)
    return done, prompts


def _renderer(tokenizer: Any, prompting: Prompting, asked: Asked) -> tuple[Renderer, RenderSpec]:
    from tooltune.evaluate.outputs import read_generation
    from tooltune.evaluate.prepare import prompt_spec
    from tooltune.models.render_record import read_render_record
    from tooltune.render.turns import Renderer

    spec = prompt_spec(read_render_record(prompting.tokenizer))
    if prompting.chat_template_kwargs is not None:
        spec = replace(spec, chat_template_kwargs=prompting.chat_template_kwargs)
    if spec.date is None:
        there = None if asked.out is None or asked.overwrite else read_generation(asked.out)
        render = (there or {}).get("decides", {}).get("render") or {}
        # An evaluation that goes on after midnight goes on with the day that it began on.
        spec = replace(spec, date=render.get("date") or Date.today().isoformat())
    return Renderer(tokenizer, spec), spec


def _prepare(
    material: Material, renderer: Renderer, asked: Asked
) -> tuple[list[Prepared], dict[str, str]]:
    from tooltune.evaluate.prepare import prepare_samples, render_prompts, render_samples, shard

    given, traces = _parts(material, asked)
    with working("rendering the prompts"):
        samples = render_prompts(shard(given[: asked.limit], asked.shard), renderer)
        if traces:
            samples = render_samples(traces, renderer, include_abstain=asked.abstain)
            samples = shard(samples[: asked.limit], asked.shard)
    _require_turns(samples, asked, material, renderer)
    prompts = {s.sample_id: s.turn.prompt_text for s in samples if s.turn is not None}
    return prepare_samples(samples, max_prompt_tokens=asked.max_prompt_tokens), prompts


def _parts(material: Material, asked: Asked) -> tuple[list[EvalSample], list[Trace]]:
    """The samples among the material, and the traces, of which at most one is there."""
    from tooltune.evaluate.prepare import without_failed_calls
    from tooltune.evaluate.samples import EvalSample

    samples = [item for item in material if isinstance(item, EvalSample)]
    traces = [item for item in material if not isinstance(item, EvalSample)]
    if not asked.abstain:
        samples = [sample for sample in samples if sample.calls_tools]
    return samples, without_failed_calls(traces) if asked.skip_failed_calls else traces


def _template_facts(tokenizer: Any, spec: RenderSpec) -> dict[str, Any]:
    import hashlib

    template = str(tokenizer.chat_template)
    facts = replace(spec, chat_template=None).to_dict()
    if "strftime_now" not in template:
        facts["date"] = None  # it decides nothing: shards of two days are alike
    keys = ("chat_template_kwargs", "date", "drop_history_reasoning_content", "control_tokens")
    return {
        "chat_template": hashlib.sha256(template.encode()).hexdigest()[:16],
        "render": {key: facts[key] for key in keys},
    }


def _decoding_facts(options: EvalOptions) -> dict[str, Any]:
    """`repeats` is not among them: more answers can be asked for later."""
    from dataclasses import asdict

    sampling = options.sampling
    return {
        "max_new_tokens": options.max_new_tokens,
        "sampling": None if sampling is None else asdict(sampling),
        "seed": None if sampling is None else options.seed,
    }


def _open_log(stack: ExitStack, asked: Asked, decides: dict[str, Any]) -> Any:
    """The outputs in `--out`, kept open while generating; an interruption says what is kept."""
    from tooltune.evaluate.outputs import OutputLog

    if asked.out is None:
        stack.push(_say_that_nothing_is_kept)
        return None
    log = OutputLog(asked.out, decides, overwrite=asked.overwrite)
    if log.outputs:
        say(f"{asked.out} holds {many(len(log.outputs), 'output')} that need not be generated")
    if log.torn:
        say(f"{asked.out}: half an output that an interruption left was dropped")

    def say_what_is_kept(kind: Any, *_: Any) -> None:
        log.close()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            kept = many(len(log.outputs), "output")
            say(f"{kept} kept in {asked.out}: give the same command again to go on")

    stack.push(say_what_is_kept)
    return log


def _say_that_nothing_is_kept(kind: Any, *_: Any) -> None:
    if kind is not None and issubclass(kind, KeyboardInterrupt):
        say("nothing was kept: with --out DIR the same command goes on where it stopped")


def _as_lines(sample: EvalSample) -> str:
    messages = sample.trace.messages[: sample.turn_index]
    return "\n".join(f"{message.role}: {message.content or ''}" for message in messages)


def _nothing_to_score(asked: Asked, material: Material) -> UserError:
    if asked.shard is not None and asked.shard[0] > 0:
        index, count = asked.shard
        return UserError(
            f"shard {index} of {count} of {asked.data} holds no turn", fix="use fewer shards"
        )
    return UserError(
        f"{asked.data} has no turn to score: none of its {len(material)} traces has tools and an "
        "assistant turn after the first message",
        fix="give traces with tools",
    )


def _require_turns(
    samples: Sequence[EvalSample], asked: Asked, material: Material, renderer: Renderer
) -> None:
    """Raise UserError where nothing can be generated, with the renderer's reasons."""
    from tooltune.render.representable import RowRejected

    if any(sample.turn is not None for sample in samples):
        return
    if not samples:
        raise _nothing_to_score(asked, material)
    lines = []
    for code, count in Counter(sample.skip_reason for sample in samples).most_common(3):
        first = next(sample for sample in samples if sample.skip_reason == code)
        trace, reason = first.trace, ""
        try:
            if first.own_truth is None:
                renderer.render(trace)
            else:
                renderer.prompt(trace, first.turn_index)
        except RowRejected as rejection:
            reason = rejection.reason
        lines.append(f"  {count} x {code}, first {trace.source}: {reason}")
    raise UserError(
        f"{asked.data} has no turn that this model can be asked for:\n" + "\n".join(lines),
        fix="mend the data, or give --chat-template a Jinja file that can express it",
    )
