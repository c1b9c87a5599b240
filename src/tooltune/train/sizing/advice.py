"""What to change in a run that does not fit into its GPUs, in numbers; all of them estimates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tooltune.config.schema import Config, Peft
from tooltune.errors import UserError
from tooltune.models.shapes import ModelShape
from tooltune.train.sizing.memory import (
    GIB,
    GPUS_PER_NODE,
    Batch,
    MemoryEstimate,
    assumed_batch,
    estimate_memory,
)

_LEVELS = ("none", "selective", "full")
_COUNTS = (2, 4, 8, 16, 32, 64)
_NAMED = 4  # the largest parts that a message names


@dataclass(frozen=True, slots=True)
class Change:
    """What to add to the command line, and what a GPU then holds."""

    options: str
    estimate: MemoryEstimate
    fits: bool

    def to_dict(self) -> dict[str, Any]:
        return {
            "options": self.options,
            "gpus": self.estimate.gpus,
            "total_gib": round(self.estimate.total / GIB, 2),
            "fits": self.fits,
        }

    def __str__(self) -> str:
        size = f"{self.options}: {self.estimate.total / GIB:.1f} GiB"
        return size if self.fits else f"{size}, still too much"


def memory_advice(
    config: Config,
    shape: ModelShape,
    world_size: int,
    device_bytes: float,
    batch: Batch | None = None,
) -> str:
    """What a run that ran out of the `device_bytes` of its GPUs needs, and what would fit.

    `batch` is the micro-batch that was too much; None: one trace, as long as the config allows. A
    line on what it takes, then one for each change; fit for the `fix` of a UserError.
    """
    batch = batch or assumed_batch(config)
    now = estimate_memory(config, shape, world_size, batch)
    largest = sorted(now.items.items(), key=lambda item: -item[1])[:_NAMED]
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in largest)
    lines = [
        f"a micro-batch of {batch.tokens:,} tokens takes about {now.total / GIB:.1f} GiB of each "
        f"GPU, which has {device_bytes / GIB:.1f} (estimate: {parts}, ...)"
    ]
    room = now.tokens_within(device_bytes)
    if 0 < room < batch.tokens:
        lines.append(
            f"--step_scheduler.local_batch_size=1, if no trace is longer than {room:,} tokens, or "
            f"--dataset.seq_length={room} with --dataset.truncate_history=true"
        )
    changes = advised_changes(config, shape, world_size, batch, device_bytes)
    return "\n".join([*lines, *map(str, changes)])


def advised_changes(
    config: Config, shape: ModelShape, gpus: int, batch: Batch, device_bytes: float
) -> list[Change]:
    """Single changes, or pairs with full checkpointing where no single one is enough.

    Those that fit, and all of them only where none does. Of numbers of GPUs the first that fits.
    """
    options = list(_recomputing(config)) + list(_lighter(config, gpus))
    found = _measured(options, shape, gpus, batch, device_bytes)
    found += _more_gpus("", config, shape, gpus, batch, device_bytes)
    if not any(change.fits for change in found):
        for first, changed in _recomputing(config):
            if first.endswith("full"):
                pairs = [(f"{first} {more}", both) for more, both in _lighter(changed, gpus)]
                found += _measured(pairs, shape, gpus, batch, device_bytes)
                found += _more_gpus(f"{first} ", changed, shape, gpus, batch, device_bytes)
    return [change for change in found if change.fits] or found


def _measured(
    options: list[tuple[str, Config]],
    shape: ModelShape,
    gpus: int,
    batch: Batch,
    device_bytes: float,
) -> list[Change]:
    estimates = [(name, estimate_memory(c, shape, gpus, batch)) for name, c in options]
    return [Change(name, one, one.total <= device_bytes) for name, one in estimates]


def _recomputing(config: Config) -> Iterator[tuple[str, Config]]:
    now = config.model.activation_checkpointing
    for level in _LEVELS[_LEVELS.index(now) + 1 :]:
        model = config.model.model_copy(update={"activation_checkpointing": level})
        option = f"--model.activation_checkpointing={level}"
        yield option, config.model_copy(update={"model": model})


def _lighter(config: Config, gpus: int) -> Iterator[tuple[str, Config]]:
    """LoRA where all weights are trained, QLoRA where adapters are."""
    if config.peft is None:
        yield "--peft.dim=16", config.model_copy(update={"peft": Peft(alpha=16)})
    elif config.peft.quantization is None:
        peft = config.peft.model_copy(update={"quantization": "nf4"})
        changed = config.model_copy(update={"peft": peft})
        option = "--peft.quantization=nf4"
        if gpus > 1 and config.distributed.strategy == "fsdp2":
            ddp = {"strategy": "ddp", "dp_replicate_size": 1}
            distributed = config.distributed.model_copy(update=ddp)
            changed = changed.model_copy(update={"distributed": distributed})
            option += " --distributed.strategy=ddp"
        yield option, changed


def _more_gpus(
    before: str,
    config: Config,
    shape: ModelShape,
    gpus: int,
    batch: Batch,
    device_bytes: float,
) -> list[Change]:
    """The fewest GPUs, sharded over all of them, that hold it; nothing where none of them do."""
    if config.peft is not None and config.peft.quantization is not None:
        return []
    sharded = {"strategy": "fsdp2", "dp_replicate_size": 1}
    distributed = config.distributed.model_copy(update=sharded)
    changed = config.model_copy(update={"distributed": distributed})
    option = "" if config.distributed.strategy == "fsdp2" else " --distributed.strategy=fsdp2"
    for count in _COUNTS:
        estimate = estimate_memory(changed, shape, count, batch)
        if count > gpus and estimate.total <= device_bytes:
            nodes = -(-count // GPUS_PER_NODE)
            where = f" on each of {nodes} machines" if nodes > 1 else ""
            each = f"{before}--nproc-per-node {min(count, GPUS_PER_NODE)}{option}{where}"
            return [Change(each, estimate, True)]
    return []


def mesh_problem(config: Config, gpus: int) -> UserError | None:
    """Why `tooltune train` would refuse to start on so many GPUs, or None."""
    import torch

    from tooltune.train.parallel.mesh import check_mesh
    from tooltune.train.parallel.world import World

    try:
        check_mesh(config.distributed, World(0, gpus, 0, torch.device("cpu")))
    except UserError as error:
        return error
    quantized = config.peft is not None and config.peft.quantization is not None
    if quantized and gpus > 1 and config.distributed.strategy == "fsdp2":
        return UserError(
            "weights in 4 or 8 bits (peft.quantization) cannot be cut into shards",
            fix="--distributed.strategy=ddp: each GPU holds the quantized model",
        )
    return None
