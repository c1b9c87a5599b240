"""What a run needs on so many GPUs, for `tooltune check`; estimated, without weights or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tooltune.config.schema import Config
from tooltune.models.shapes import ModelShape
from tooltune.train.sizing.advice import advised_changes, mesh_problem
from tooltune.train.sizing.memory import (
    GIB,
    Batch,
    assumed_batch,
    estimate_memory,
    trained_parameters,
)
from tooltune.train.sizing.throughput import DEVICES, Device, tokens_per_second

if TYPE_CHECKING:
    from tooltune.models.forest_forward import Model
    from tooltune.train.batches import CostModel
    from tooltune.train.data import RunData
    from tooltune.train.parallel.world import World

SIZES = {"24 GB": DEVICES["RTX 4090"], "80 GB": DEVICES["H100"], "141 GB": DEVICES["H200"]}


@dataclass(frozen=True, slots=True)
class Workload:
    """The largest micro-batch that cannot be avoided, and the run's tokens where they are known."""

    batch: Batch
    total_tokens: int | None
    why: str

    @property
    def target_share(self) -> float:
        return self.batch.targets / self.batch.tokens


def assumed_workload(config: Config) -> Workload:
    """That of a run whose data are not at hand."""
    known = config.dataset.seq_length is not None
    why = "one trace of dataset.seq_length tokens" if known else "one trace of an assumed length"
    return Workload(assumed_batch(config), None, f"{why}; no data were read")


def workload_of(config: Config, data: RunData) -> Workload:
    """The longest trace of `data`, which is a micro-batch of its own at the least."""
    from tooltune.train.batches import step_plan

    lengths = data.train.forest_tokens
    plan = step_plan(config, len(data.train))
    epochs = plan.total_steps / plan.steps_per_epoch
    longest = max(1, int(lengths.max()))
    share = int(data.train.targets.sum()) / max(1, int(lengths.sum()))
    batch = Batch(longest, max(1, round(longest * share)))
    return Workload(batch, round(int(lengths.sum()) * epochs), "the longest trace alone")


def describe_scale(
    config: Config,
    shape: ModelShape,
    gpus: Sequence[int],
    workload: Workload,
    here: Device | None = None,
) -> dict[str, Any]:
    """The estimates as a JSON object, sizes in GiB.

    `here` is the GPU of this machine, if it has one. A number of GPUs that the config has no place
    for is described by its `problem` alone.
    """
    sizes = SIZES if here is None else {here.name: here, **SIZES}
    return {
        "model": {
            "name": shape.name,
            "source": shape.source,
            "parameters": shape.parameters,
            "active_parameters": shape.active,
            "trained_parameters": trained_parameters(config, shape),
            "layers": shape.layers,
            "hidden": shape.hidden,
        },
        "micro_batch": {
            "tokens": workload.batch.tokens,
            "targets": workload.batch.targets,
            "why": workload.why,
        },
        "total_tokens": workload.total_tokens,
        "gpus": [_describe(config, shape, count, workload, sizes) for count in gpus],
    }


def _describe(
    config: Config, shape: ModelShape, gpus: int, workload: Workload, sizes: dict[str, Device]
) -> dict[str, Any]:
    problem = mesh_problem(config, gpus)
    if problem is not None:
        return {"gpus": gpus, "problem": problem.message, "fix": problem.fix}
    estimate = estimate_memory(config, shape, gpus, workload.batch)
    speed = {
        device.name: tokens_per_second(
            config,
            shape,
            gpus,
            device,
            context=workload.batch.tokens / 2,
            target_share=workload.target_share,
        )
        for device in {**DEVICES, **{d.name: d for d in sizes.values()}}.values()
        if device.bfloat16
    }
    fits = {name: estimate.total <= device.memory for name, device in sizes.items()}
    room = SIZES["80 GB"].memory
    changes = [] if fits["80 GB"] else advised_changes(config, shape, gpus, workload.batch, room)
    return {
        "gpus": gpus,
        "layout": estimate.layout,
        "items_gib": {name: round(size / GIB, 2) for name, size in estimate.items.items()},
        "why": {name: estimate.why[name] for name in estimate.items},
        "total_gib": round(estimate.total / GIB, 2),
        "gib_per_1000_tokens": round(1000 * estimate.per_token / GIB, 3),
        "host_gib": round(estimate.host / GIB, 1),
        "fits": fits,
        "tokens_that_fit": {
            name: estimate.tokens_within(device.memory) for name, device in sizes.items()
        },
        "tokens_per_second": {name: [round(n) for n in bounds] for name, bounds in speed.items()},
        "to_fit_80_gb": [change.to_dict() for change in changes],
        "idle_gpus": max(0, gpus - config.step_scheduler.global_batch_size),
    }


def cost_of_run(config: Config, model: Model, world: World) -> CostModel:
    """The cost model of the device; on a GPU with no larger micro-batches than fit into it."""
    import torch

    from tooltune.models.blocks import base_model
    from tooltune.models.shapes import count_shape
    from tooltune.train.batches import cost_model

    cost, device = cost_model(world.device.type), world.device
    if device.type != "cuda":
        return cost
    name = config.model.pretrained_model_name_or_path
    shape = count_shape(name, "the model", base_model(model).config)
    # The smallest of all ranks: they must cut the same traces into the same micro-batches.
    size = -world.max(-float(torch.cuda.get_device_properties(device).total_memory))[0]
    return fitting_cost(cost, config, shape, world.size, size)


def fitting_cost(
    cost: CostModel, config: Config, shape: ModelShape, world_size: int, device_bytes: float
) -> CostModel:
    """`cost` with its largest micro-batch lowered to what fits into GPUs of `device_bytes`.

    A pure function of config, shape and device: a resumed run packs as before. A trace that is
    longer by itself is still a micro-batch of its own.
    """
    estimate = estimate_memory(config, shape, world_size, assumed_batch(config))
    room = estimate.tokens_within(device_bytes)
    return replace(cost, max_tokens=max(1, min(cost.max_tokens, room)))
