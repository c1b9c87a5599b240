"""Out of memory on a GPU: the error that says what to change, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.models.shapes import shape_of
from tooltune.render.turns import RenderedTrace
from tooltune.train.batches import CostModel, pack
from tooltune.train.parallel.divide import divide
from tooltune.train.sizing.advice import memory_advice
from tooltune.train.sizing.memory import Batch
from tooltune.train.trainee import Trainee


def out_of_memory(
    config: Config,
    trainee: Trainee,
    cost: CostModel,
    rows: Sequence[RenderedTrace],
    number: int,
) -> UserError:
    """The error for step `number`, on the traces `rows`, which this rank had no memory for."""
    world = trainee.world
    mine = divide(rows, world.size)[world.rank] or list(rows)  # a rank without traces keeps pace
    batches = pack(mine, cost, max_traces=config.step_scheduler.local_batch_size)
    largest = max(batches, key=lambda batch: len(batch.forest))
    tokens, targets = len(largest.forest), len(largest.forest.target_source)
    size = torch.cuda.get_device_properties(world.device).total_memory
    try:
        shape = shape_of(config.model.pretrained_model_name_or_path)
        advice = memory_advice(config, shape, world.size, size, Batch(tokens, targets))
    except UserError:
        advice = "a lower step_scheduler.local_batch_size, or model.activation_checkpointing: full"
    where = f" on rank {world.rank}" if world.size > 1 else ""
    return UserError(
        f"CUDA ran out of memory in step {number}{where}, with a micro-batch of {tokens:,} tokens "
        f"({targets:,} targets, of {largest.turns[0].trace_id} among others); the update was not "
        "made",
        fix=advice,
    )
