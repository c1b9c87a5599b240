"""Generate, parse and score prepared samples: one record of `samples.jsonl` each."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tooltune.evaluate.engines import generate_greedy, pick_engine
from tooltune.evaluate.engines.types import Generation, Request
from tooltune.evaluate.prepare import Prepared
from tooltune.evaluate.samples import HELD_OUT, ground_truth_calls, trace_sample
from tooltune.evaluate.scores import aggregate
from tooltune.toolcalls.parse import parse_turn
from tooltune.toolcalls.score import check_ground_truth, score_turn

logger = logging.getLogger(__name__)

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to generate. `stop_ids` end a generation; `call_format` names the parser (None: detect).

    `max_new_tokens` counts tokens, the stop token included.
    """

    max_new_tokens: int
    stop_ids: frozenset[int]
    call_format: str | None = None
    do_sample: bool = False
    raise_on_cuda_oom: bool = True


def generation_stop_ids(
    tokenizer: Any, model: Any, template_stops: Sequence[int]
) -> frozenset[int]:
    """The template's stops and whatever the model and tokenizer themselves stop at."""
    config = getattr(model, "generation_config", None)
    own = getattr(config, "eos_token_id", None)
    own = own if isinstance(own, (list, tuple)) else [own]
    stops = [*template_stops, *own, getattr(tokenizer, "eos_token_id", None)]
    return frozenset(int(stop) for stop in stops if stop is not None)


def run_samples(
    model: Any,
    tokenizer: Any,
    prepared: Sequence[Prepared],
    options: GenerationOptions,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Record]:
    """Generate an answer to each prepared sample and score it, in their order.

    A sample whose generation raises is skipped with its reason, except CUDA out of memory under
    `raise_on_cuda_oom`.

    Raises: UserError for ground truth or schemas that cannot be scored, before any generation.
    """
    for item in prepared:
        row = item.sample.trace.to_openai()
        calls = ground_truth_calls(item.sample.trace, item.sample.turn_index)
        check_ground_truth(calls, row.get("tools"))
    todo = [i for i, item in enumerate(prepared) if item.prompt_ids is not None]
    requests = [Request(prepared[i].prompt_ids or (), prepared[i].draft_ids) for i in todo]
    with torch.random.fork_rng():  # evaluation draws nothing from the training RNG
        outcomes = _generate(model, tokenizer, requests, options, on_progress)
    records = [_skipped(item, item.skip_reason or "") for item in prepared]
    for i, outcome in zip(todo, outcomes, strict=True):
        if isinstance(outcome, str):
            records[i] = _skipped(prepared[i], outcome)
        else:
            records[i] = _scored(prepared[i], outcome, tokenizer, options)
    return records


def _generate(
    model: Any,
    tokenizer: Any,
    requests: Sequence[Request],
    options: GenerationOptions,
    on_progress: Callable[[int, int], None] | None,
) -> list[Generation | str]:
    """A generation, or the reason it failed, for each request."""
    engine = pick_engine(model, options.do_sample)
    pad = getattr(tokenizer, "pad_token_id", None)
    pad = getattr(tokenizer, "eos_token_id", None) if pad is None else pad

    def call(some: Sequence[Request]) -> list[Generation]:
        return engine(
            model,
            some,
            stop_ids=options.stop_ids,
            max_new_tokens=options.max_new_tokens,
            pad_token_id=0 if pad is None else int(pad),
            do_sample=options.do_sample,
            on_progress=on_progress if len(some) > 1 else None,
        )

    if engine is generate_greedy:  # the others take one prompt at a time anyway
        try:
            return list(call(requests))
        except Exception as error:
            if isinstance(error, torch.cuda.OutOfMemoryError) and options.raise_on_cuda_oom:
                raise
            logger.warning("generating a batch failed (%s); trying its samples one by one", error)
    outcomes: list[Generation | str] = []
    for i, request in enumerate(requests):
        if on_progress is not None:
            on_progress(i, len(requests))
        try:
            outcomes += call([request])
        except Exception as error:
            oom = isinstance(error, torch.cuda.OutOfMemoryError)
            if oom and options.raise_on_cuda_oom:
                raise
            outcomes.append("out_of_memory" if oom else f"generate_error_{type(error).__name__}")
    return outcomes


def _scored(
    item: Prepared, generation: Generation, tokenizer: Any, options: GenerationOptions
) -> Record:
    sample = item.sample
    tools = sample.trace.to_openai().get("tools")
    ids = list(generation.token_ids)
    text = tokenizer.decode(ids, skip_special_tokens=False)
    truth = ground_truth_calls(sample.trace, sample.turn_index)
    known = None if tools is None else [*tools, *_undeclared(truth, tools)]
    calls = parse_turn(text, format=options.call_format, tools=known).calls
    score = score_turn(calls, truth, tools=tools)
    return {
        **_about(item),
        "text": text,
        "token_ids": ids,
        "calls": [
            {"name": c.name, "arguments": c.arguments, "status": c.status, "raw": c.raw}
            for c in calls
        ],
        "finish_reason": generation.finish_reason,
        "skip_reason": None,
        "teacher_forced_exact": generation.teacher_forced_exact,
        "verdict": asdict(score),
    }


def _undeclared(truth: Sequence[Record], tools: Sequence[Record]) -> list[Record]:
    """Tools that the ground truth calls and the row does not list: not the model's fault."""
    listed = {tool["function"]["name"] for tool in tools}
    return [{"name": call["name"]} for call in truth if call["name"] not in listed]


def _skipped(item: Prepared, reason: str) -> Record:
    verdict = {"correct": False, "outcome": "skipped", "reasons": [reason], "scores": {}}
    return {
        **_about(item),
        "text": "",
        "token_ids": [],
        "calls": [],
        "finish_reason": "skipped",
        "skip_reason": reason,
        "teacher_forced_exact": None,
        "verdict": verdict,
    }


def _about(item: Prepared) -> Record:
    sample = item.sample
    public = trace_sample(sample.trace, sample.turn_index)
    turn_text = None if sample.turn is None else sample.turn.completion_text
    return {
        "sample_id": sample.sample_id,
        "example_id": public["example_id"],
        "turn_index": public["turn_index"],
        "group": sample.trace.group,
        "dataset": sample.dataset,
        "kind": "call" if sample.calls_tools else "abstain",
        "prompt_id": sample.prompt_id,
        "prompt_tokens": len(item.prompt_ids or ()),
        "prompt_messages": public["prompt_messages"],
        "tools": public["tools"],
        "gt_tool_calls": public["gt_tool_calls"],
        "gt_text": turn_text or (sample.trace.messages[sample.turn_index].content or ""),
    }


def summarise(records: Sequence[Record], *, prefix: str = "tool_call") -> dict[str, float]:
    """Metrics of the main set under `prefix/…`, of every other set under `prefix/SET/…`."""
    metrics = aggregate([r for r in records if r["dataset"] == HELD_OUT], prefix=prefix)
    for name in sorted({r["dataset"] for r in records} - {HELD_OUT}):
        metrics |= aggregate(
            [r for r in records if r["dataset"] == name], prefix=f"{prefix}/{name}"
        )
    return metrics


def evaluation_metrics(
    records: Sequence[Record], *, model_name: str, prefix: str = "tool_call"
) -> dict[str, Any]:
    """The object of metrics.json: who was scored on how much, and every metric."""
    main = [r for r in records if r["dataset"] == HELD_OUT]
    return {
        "model": model_name,
        "n_samples": len(main),
        "n_traces": len({r["example_id"] for r in main}),
        **summarise(records, prefix=prefix),
    }


def write_evaluation(
    directory: Path, records: Sequence[Record], *, model_name: str, prefix: str = "tool_call"
) -> dict[str, Any]:
    """Write `samples.jsonl` and `metrics.json` (each replaced in one step); return the metrics."""
    directory.mkdir(parents=True, exist_ok=True)
    metrics = evaluation_metrics(records, model_name=model_name, prefix=prefix)
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    _replace(directory / "samples.jsonl", "".join(line + "\n" for line in lines))
    _replace(directory / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    return metrics


def _replace(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.staged")
    staged.write_text(text, encoding="utf-8", errors="surrogatepass")
    os.replace(staged, path)
