"""The device mesh of a run: over which ranks weights are sharded, and how often they are copied."""

from __future__ import annotations

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from tooltune.config.schema import Distributed
from tooltune.errors import UserError
from tooltune.train.parallel.world import World

REPLICATE, SHARD = "dp_replicate", "dp_shard"


def is_sharded(settings: Distributed, world: World) -> bool:
    """Whether weights are spread over ranks; a single process holds them whole."""
    return settings.strategy == "fsdp2" and world.size > 1


def check_mesh(settings: Distributed, world: World) -> None:
    """Raises: UserError for processes that the strategy has no place for."""
    if settings.strategy == "none" and world.size > 1:
        raise UserError(
            f"distributed.strategy is none, and {world.size} processes were started",
            fix="distributed: {strategy: fsdp2} (or ddp for a small model), or one process",
        )
    copies = settings.dp_replicate_size
    if copies > 1 and settings.strategy != "fsdp2":
        raise UserError(
            f"distributed.dp_replicate_size {copies} is for fsdp2, and strategy is "
            f"{settings.strategy}",
            fix="delete it, or distributed: {strategy: fsdp2}",
        )
    if copies > 1 and (world.size % copies or world.size < 2 * copies):
        raise UserError(
            f"{world.size} processes do not make {copies} copies of a sharded model "
            "(distributed.dp_replicate_size)",
            fix=f"start a multiple of {copies}, at least {2 * copies}, or lower dp_replicate_size "
            "(1 shards over all of them)",
        )


def make_mesh(settings: Distributed, world: World) -> DeviceMesh:
    """One dimension for FSDP; for HSDP copies outside (across nodes), shards inside (one node)."""
    copies = settings.dp_replicate_size
    kind = world.device.type
    if copies == 1:
        return init_device_mesh(kind, (world.size,), mesh_dim_names=(SHARD,))
    shape = (copies, world.size // copies)
    return init_device_mesh(kind, shape, mesh_dim_names=(REPLICATE, SHARD))
