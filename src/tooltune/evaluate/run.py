"""An evaluation from samples to records: ask for what is not there yet, then score everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tooltune.errors import UserError
from tooltune.evaluate.engines.types import Sampling
from tooltune.evaluate.model_source import OutputSource, model_source
from tooltune.evaluate.outputs import Output, OutputLog
from tooltune.evaluate.prepare import Key, Prepared, Task, make_tasks
from tooltune.evaluate.samples import EvalSample
from tooltune.evaluate.scoring import (
    Record,
    ScoringOptions,
    make_question,
    score_outputs,
)
from tooltune.evaluate.selftest import self_test
from tooltune.render.turns import Renderer

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What is asked of each sample, and how the answers are judged.

    max_new_tokens: of an answer, the stop token included. sampling: None for greedy decoding.
    repeats: answers to each sample; more than one only when sampling. seed: of sampling.
    raise_on_cuda_oom: otherwise a sample that does not fit into memory is skipped.
    exclude_broken: samples whose ground truth or tools cannot be judged are left out and counted;
    otherwise they are an error before anything is generated.

    Raises: UserError for values that make no sense.
    """

    max_new_tokens: int = 256
    sampling: Sampling | None = None
    repeats: int = 1
    seed: int = 0
    raise_on_cuda_oom: bool = True
    exclude_broken: bool = False
    scoring: ScoringOptions = field(default_factory=ScoringOptions)

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(
                f"an answer of at most {self.max_new_tokens} tokens", fix="allow one token or more"
            )
        if self.repeats < 1:
            raise UserError(f"{self.repeats} answers a sample", fix="ask for one or more")
        if self.repeats > 1 and self.sampling is None:
            raise UserError(
                f"{self.repeats} answers to each prompt would all be the same: decoding is greedy",
                fix="sample (--temperature 0.7, do_sample=True), or ask for one answer",
            )


def sampling_of(temperature: float, top_p: float, top_k: int) -> Sampling:
    """Raises: UserError for a value out of its range."""
    try:
        return Sampling(temperature, top_p, top_k)
    except ValueError as error:
        raise UserError(str(error), fix="correct it, or leave sampling out") from error


@dataclass(slots=True)
class Evaluation:
    """What an evaluation found. `records` are those of samples.jsonl, `excluded` the samples that
    cannot be judged; `generated` and `reused` count outputs, `seconds` those of generating."""

    records: list[Record]
    excluded: list[Record]
    generated: int = 0
    reused: int = 0
    seconds: float = 0.0


def generation_stop_ids(
    tokenizer: Any, model: Any, template_stops: Sequence[int]
) -> frozenset[int]:
    """The template's stops and whatever the model and tokenizer themselves stop at."""
    config = getattr(model, "generation_config", None)
    own = getattr(config, "eos_token_id", None)
    own = own if isinstance(own, (list, tuple)) else [own]
    stops = [*template_stops, *own, getattr(tokenizer, "eos_token_id", None)]
    return frozenset(int(stop) for stop in stops if stop is not None)


def evaluate_model(
    model: Any,
    tokenizer: Any,
    renderer: Renderer | None,
    prepared: Sequence[Prepared],
    options: EvalOptions,
    *,
    log: OutputLog | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a model object of this process; without a renderer, one that knows no template.

    See `evaluate_outputs` for the rest, and for what is raised; and torch.cuda.OutOfMemoryError
    under `raise_on_cuda_oom`.
    """
    source = model_source(
        model,
        tokenizer,
        stop_ids=generation_stop_ids(tokenizer, model, renderer.stop_ids if renderer else ()),
        max_new_tokens=options.max_new_tokens,
        sampling=options.sampling,
        raise_on_cuda_oom=options.raise_on_cuda_oom,
    )
    call_format = renderer.profile.call_format if renderer else None
    return evaluate_outputs(source, prepared, options, call_format, log, on_progress)


def evaluate_outputs(
    source: OutputSource,
    prepared: Sequence[Prepared],
    options: EvalOptions,
    call_format: str | None = None,
    log: OutputLog | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Ask `source` for every answer that `log` does not hold, and score all, in sample order.

    New outputs go to `log` as they come. `call_format` is the parser that the model's template
    declares. `on_progress(done, all)` counts what the log held as done.

    Raises: UserError for samples that cannot be judged (see `exclude_broken`) and for a grader that
    fails its self-test on them, before anything is generated; and where `log` holds an answer to
    another prompt under the id of a sample.
    """
    kept, excluded = _sound(prepared, options, call_format)
    questions = [make_question(item, call_format) for item in kept]
    tasks = make_tasks(kept, repeats=options.repeats, seed=options.seed)
    evaluation = Evaluation([], excluded)
    outputs = _generate(source, tasks, evaluation, log, on_progress)
    evaluation.records = score_outputs(questions, outputs, options.scoring, repeats=options.repeats)
    return evaluation


def _sound(
    prepared: Sequence[Prepared], options: EvalOptions, call_format: str | None
) -> tuple[Sequence[Prepared], list[Record]]:
    """The samples that the grader can judge, and those that were left out, with the reason."""
    scoring = options.scoring
    test = self_test(
        [_as_graded(item.sample) for item in prepared],
        call_format=scoring.parser or call_format,
        mode=scoring.mode,
        matching=scoring.matching,
    )
    broken = test.require_passed(exclude_broken=options.exclude_broken)
    reasons = {failure.sample_id: str(failure) for failure in reversed(test.failures)}
    excluded = [
        {
            "sample_id": item.sample.sample_id,
            "example_id": item.sample.trace.id,
            "turn_index": item.sample.turn_index,
            "dataset": item.sample.dataset,
            "reason": reasons[item.sample.sample_id],
        }
        for item in prepared
        if item.sample.sample_id in broken
    ]
    kept = [item for item in prepared if item.sample.sample_id not in broken]
    if excluded and not kept:
        raise UserError(
            f"none of the {len(excluded)} samples can be judged, such as {excluded[0]['reason']}",
            fix="correct the data",
        )
    return kept, excluded


def _as_graded(sample: EvalSample) -> EvalSample:
    """Where only the prompt was rendered there is no right text, but there are right calls."""
    rendered = sample.turn is not None and sample.turn.completion_ids
    return sample if rendered else replace(sample, turn=None)


def _generate(
    source: OutputSource,
    tasks: Sequence[Task],
    evaluation: Evaluation,
    log: OutputLog | None,
    on_progress: Progress | None,
) -> dict[Key, Output]:
    """The output of every task; those of the log are not asked for again."""
    done: dict[Key, Output] = {}
    todo: list[Task] = []
    for task in tasks:
        there = None if log is None else log.outputs.get(task.key)
        if task.item.skip_reason is not None:
            done[task.key] = _skipped(task, task.item.skip_reason)
        elif there is None:
            todo.append(task)
        else:
            _check_same(task, there, log)
            done[task.key] = there
            evaluation.reused += 1
    total = evaluation.reused + len(todo)

    def keep(output: Output) -> None:
        if log is not None:
            log.append(output)
        done[output.key] = output
        evaluation.generated += output.skip_reason is None
        if on_progress is not None:
            on_progress(len(done) - (len(tasks) - total), total)

    start = time.perf_counter()
    try:
        if todo:
            source(todo, keep)
    finally:
        evaluation.seconds = time.perf_counter() - start
        if log is not None:
            log.note_run(
                reused=evaluation.reused,
                generated=evaluation.generated,
                seconds=round(evaluation.seconds, 3),
                torn_lines=log.torn,
            )
    return done


def _skipped(task: Task, reason: str) -> Output:
    sample = task.item.sample
    return Output(
        sample.dataset,
        sample.sample_id,
        task.repeat,
        task.prompt_id,
        finish_reason="skipped",
        skip_reason=reason,
    )


def _check_same(task: Task, output: Output, log: OutputLog | None) -> None:
    """An id of the data's own may come with another prompt, or be judged by another answer."""
    other_draft = output.draft_id is not None and output.draft_id != task.item.draft_id
    if output.prompt_id == task.prompt_id and not other_draft:
        return
    what = "ground truth" if other_draft else "prompt"
    where = "" if log is None else f"{log.directory}: "
    raise UserError(
        f"{where}sample {output.sample_id} has another {what} now than when it was generated",
        fix="choose another --out, or give --overwrite to lose those outputs",
    )
