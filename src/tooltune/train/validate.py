"""Validation during a run: loss on the held-out traces, and tool calls by generation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tooltune.config.schema import Config
from tooltune.evaluate.prepare import prepare_samples
from tooltune.evaluate.run import (
    GenerationOptions,
    Record,
    generation_stop_ids,
    run_samples,
    write_evaluation,
)
from tooltune.models.load import load_model
from tooltune.train.batches import MicroBatch
from tooltune.train.data import RunData
from tooltune.train.trainee import Trainee


@torch.no_grad()
def validation_loss(trainee: Trainee, batches: Sequence[MicroBatch]) -> float:
    """Σ weight·nll / Σ weight over the held-out traces, in the dtype that trains."""
    was_training = trainee.model.training
    trainee.model.eval()
    try:
        total = sum(float(trainee.nll(batch)) for batch in batches)
    finally:
        trainee.model.train(was_training)
    return total / sum(batch.forest.total_weight for batch in batches)


def evaluate_tool_calls(
    model: Any, tokenizer: Any, data: RunData, config: Config, directory: Path, *, name: str
) -> dict[str, Any]:
    """Generate every sample of the run and write `samples.jsonl` and `metrics.json`.

    Returns the `tool_call/*` metrics.
    """
    settings = config.tool_call_eval
    prepared = prepare_samples(data.samples, max_prompt_tokens=settings.max_prompt_tokens)
    options = GenerationOptions(
        max_new_tokens=settings.max_new_tokens,
        stop_ids=generation_stop_ids(tokenizer, model, data.renderer.stop_ids),
        call_format=data.renderer.profile.call_format,
    )
    records: list[Record] = run_samples(model, tokenizer, prepared, options)
    metrics = write_evaluation(directory, records, model_name=name)
    return {key: value for key, value in metrics.items() if key.startswith("tool_call/")}


def evaluate_saved_model(
    path: Path, tokenizer: Any, data: RunData, config: Config, directory: Path, device: torch.device
) -> dict[str, Any]:
    """The same on a model as anyone would load it from disk: what was saved is what is scored."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    model = load_model(path, dtype=dtype, device=device)
    return evaluate_tool_calls(model, tokenizer, data, config, directory, name=str(path))
