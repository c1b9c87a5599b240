"""Validation during a run: loss on the held-out traces, and tool calls by generation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from tooltune.config.schema import Config
from tooltune.evaluate.prepare import prepare_samples
from tooltune.evaluate.results import write_evaluation
from tooltune.evaluate.run import EvalOptions, evaluate_model
from tooltune.models.load import load_model
from tooltune.train.batches import MicroBatch
from tooltune.train.data import RunData
from tooltune.train.trainee import Trainee


@torch.no_grad()
def validation_loss(trainee: Trainee, batches: Iterable[MicroBatch]) -> float:
    """Σ weight·nll / Σ weight over the held-out traces, in the dtype that trains."""
    was_training = trainee.model.training
    trainee.model.eval()
    total = weight = 0.0
    try:
        for batch in batches:
            total += float(trainee.nll(batch))
            weight += batch.forest.total_weight
    finally:
        trainee.model.train(was_training)
    return total / weight


def evaluate_tool_calls(
    model: Any,
    tokenizer: Any,
    data: RunData,
    config: Config,
    directory: Path,
    *,
    name: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Generate every sample of the run and write `samples.jsonl` and `metrics.json`.

    `say` is told of the progress, now and then. Returns the `tool_call/*` metrics.

    Raises: UserError for a sample that cannot be judged, before anything is generated.
    """
    settings = config.tool_call_eval
    prepared = prepare_samples(data.samples, max_prompt_tokens=settings.max_prompt_tokens)
    options = EvalOptions(max_new_tokens=settings.max_new_tokens)
    done = evaluate_model(
        model, tokenizer, data.renderer, prepared, options, on_progress=_Quarters(say)
    )
    trained = data.train.tools
    for record in done.records:
        own = {tool["function"]["name"] for tool in record["tools"] or ()}
        record["seen_tools"] = sorted(own & trained)
    metrics = write_evaluation(directory, done.records, model_name=name)
    return {key: value for key, value in metrics.items() if key.startswith("tool_call/")}


def evaluate_saved_model(
    path: Path,
    tokenizer: Any,
    data: RunData,
    config: Config,
    directory: Path,
    device: torch.device,
    *,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The same on a model as anyone would load it from disk: what was saved is what is scored."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    model = load_model(path, dtype=dtype, device=device)
    return evaluate_tool_calls(model, tokenizer, data, config, directory, name=str(path), say=say)


class _Quarters:
    """Says how many turns are done, four times at most: readable in a terminal and in a log."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._shown = 0

    def __call__(self, done: int, total: int) -> None:
        quarter = 4 * done // max(total, 1)
        if quarter > self._shown:
            self._shown = quarter
            self._say(f"generated {done} of {total} turns")
