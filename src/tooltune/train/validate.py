"""Validation during a run: loss on the held-out traces, and tool calls by generation.

Both are shared out over ranks and give the same numbers on any number of them: sums are added in
float64, and records are put back into the order of the samples before anything is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tooltune.config.schema import Config
from tooltune.evaluate.prepare import Prepared, prepare_samples
from tooltune.evaluate.results import write_evaluation
from tooltune.evaluate.run import EvalOptions, evaluate_model
from tooltune.evaluate.scoring import Record
from tooltune.evaluate.synchronous import synchronous_forwards
from tooltune.models.load import load_model
from tooltune.train.batches import MicroBatch
from tooltune.train.data import RunData
from tooltune.train.parallel.load import load_sharded
from tooltune.train.parallel.mesh import is_sharded
from tooltune.train.parallel.world import World
from tooltune.train.trainee import Trainee
from tooltune.train.watch.signals import Preempted, leave_together


@torch.no_grad()
def validation_loss(
    trainee: Trainee,
    batches: Iterable[MicroBatch],
    on_batch: Callable[[], None] = lambda: None,
) -> float | None:
    """Σ weight·nll / Σ weight over the held-out traces, in the dtype that trains.

    `batches` are all of them, the same on every rank. None where they hold no target.
    """
    world = trainee.world
    was_training = trainee.model.training
    trainee.model.eval()
    total = weight = 0.0
    try:
        with synchronous_forwards(trainee.model, on_batch):
            for number, batch in enumerate(batches):
                if number % world.size == world.rank:
                    total += float(trainee.nll(batch))
                    weight += batch.forest.total_weight
                on_batch()
    finally:
        trainee.model.train(was_training)
    total, weight = world.sum(total, weight)
    return total / weight if weight else None


def evaluate_tool_calls(
    model: Any,
    tokenizer: Any,
    data: RunData,
    config: Config,
    directory: Path,
    world: World,
    *,
    name: str,
    say: Callable[[str], None],
    between: Callable[[], None] = lambda: None,
    on_forward: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Generate every sample of the run and write `samples.jsonl` and `metrics.json`.

    Every rank takes its share and gets the `tool_call/*` metrics of all; rank 0 writes. `say` is
    told of rank 0's progress, now and then; `between` is called between two turns,
    `on_forward` at each forward of a sharded model.

    Raises: UserError for a sample that cannot be judged, before anything is generated; Preempted,
    on every rank, where `between` raised it on one.
    """
    settings = config.tool_call_eval
    prepared = prepare_samples(data.samples, max_prompt_tokens=settings.max_prompt_tokens)
    options = EvalOptions(max_new_tokens=settings.max_new_tokens)
    records: list[Record] = []
    error: Exception | None = None
    leaving: Preempted | None = None
    try:
        with synchronous_forwards(model, on_forward):
            records = evaluate_model(
                model,
                tokenizer,
                data.renderer,
                prepared[world.rank :: world.size],
                options,
                on_progress=_Quarters(say, between),
            ).records
    except Preempted as request:  # the rest of this rank's share is not done
        leaving = request
    except Exception as problem:
        error = problem
    world.agree(error, "evaluating")
    leave_together(leaving, world)
    parts = world.gather(records)

    def write() -> dict[str, Any]:
        assert parts is not None
        everything = _in_order(prepared, parts)
        for record in everything:
            own = {tool["function"]["name"] for tool in record["tools"] or ()}
            record["seen_tools"] = sorted(own & data.train.tools)
        return write_evaluation(directory, everything, model_name=name)

    metrics = world.lead(write, "writing the evaluation")
    return {key: value for key, value in metrics.items() if key.startswith("tool_call/")}


def _in_order(prepared: Sequence[Prepared], parts: Sequence[Sequence[Record]]) -> list[Record]:
    """The records of all ranks in the order of the samples, whoever scored them."""
    found = {(r["dataset"], r["sample_id"]): r for part in parts for r in part}
    keys = ((item.sample.dataset, item.sample.sample_id) for item in prepared)
    return [found[key] for key in keys if key in found]


def load_saved_model(path: Path, config: Config, world: World) -> Any:
    """A consolidated model as anyone would load it from disk: what was saved is what is scored.

    In the type that the run evaluates in. One that is too large for a rank was trained sharded,
    and is loaded sharded here too.
    """
    narrow = world.device.type != "cpu" and config.model.dtype != "float32"
    dtype = torch.bfloat16 if narrow else torch.float32
    if not is_sharded(config.distributed, world):
        return world.together(
            lambda: load_model(path, dtype=dtype, device=world.device), "loading the saved model"
        )

    def load() -> PreTrainedModel:
        return load_model(path, dtype=dtype, device=torch.device("cpu"))

    return load_sharded(load, lambda model: model, config.distributed, world, dtype).eval()


class _Quarters:
    """Says how many turns are done, four times at most: readable in a terminal and in a log."""

    def __init__(self, say: Callable[[str], None], between: Callable[[], None]) -> None:
        self._say = say
        self._between = between
        self._shown = 0

    def __call__(self, done: int, total: int) -> None:
        self._between()
        quarter = 4 * done // max(total, 1)
        if quarter > self._shown:
            self._shown = quarter
            self._say(f"generated {done} of {total} turns")
