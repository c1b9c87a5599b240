"""FSDP2: a model whose weights no rank ever holds whole.

The model is made without storage, each decoder block is one unit that is gathered when its turn
comes (Zhao et al., "PyTorch FSDP", VLDB 2023; `fully_shard`), and the weights are sent from
rank 0, which alone reads them. Parameters stay fp32 (frozen ones of LoRA in the compute dtype),
so they are their own masters; gathered copies compute in the compute dtype, and gradients are
reduced in fp32.
https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    set_model_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from tooltune.evaluate.synchronous import Torn
from tooltune.models.blocks import decoder_blocks
from tooltune.train.parallel.world import World


def shard_model(
    model: nn.Module, mesh: DeviceMesh, compute_dtype: torch.dtype, *, reshard: bool = True
) -> None:
    """Shard `model` in place: a unit for each decoder block, one for what is around them.

    `reshard` frees a block's gathered weights between its forward and its backward pass.

    Raises: UserError for a model without decoder blocks.
    """
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32)
    for block in decoder_blocks(model):
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard)
    # Its weights (embeddings, head) are needed at the end of the forward and again at once.
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)


def materialise(model: nn.Module, device: torch.device) -> None:
    """Give every tensor on the meta device uninitialised storage on `device`; ties are kept."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.is_meta:
                continue
            if id(parameter) not in made:
                storage = torch.empty_like(parameter, device=device)
                made[id(parameter)] = parameter, nn.Parameter(storage, parameter.requires_grad)
            module._parameters[name] = made[id(parameter)][1]
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.empty_like(buffer, device=device)


def send_weights(source: nn.Module | None, model: nn.Module, world: World) -> None:
    """Copy the weights and buffers of rank 0's whole `source` into the sharded `model`.

    `source` is None on the other ranks, has the names of `model`, and lies on a CPU.
    """
    state = {} if source is None else source.state_dict()
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=True)
    set_model_state_dict(model, state, options=options)
    # A state dict leaves out what can be computed, such as the frequencies of RoPE.
    theirs = dict(source.named_buffers()) if source is not None else {}
    for name, buffer in model.named_buffers():
        if source is not None:
            buffer.copy_(theirs[name])
        dist.broadcast(buffer, src=0)


def full_state(model: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The whole state dict of a sharded model on rank 0's CPU; empty on the other ranks.

    Floating tensors are cast to `dtype` (None: kept) before they are gathered, one at a time.

    Raises: Torn where that fails on this rank, out of memory say.
    """
    state: dict[str, Tensor] = {}
    try:
        for name, shard in model.state_dict().items():
            tensor = shard.detach()
            if dtype is not None and tensor.is_floating_point():
                tensor = tensor.to(dtype)
            tensor = whole(tensor)
            if dist.get_rank() == 0:
                state[name] = tensor.cpu()
    except Exception as error:
        raise Torn(f"gathering the weights of a sharded model failed half-way: {error}") from error
    return state


def full_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer of a sharded model, whole, on every rank: for small models."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # after a forward it may still show its gathered, rounded weights
    tensors: Mapping[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    return {name: whole(tensor.detach()) for name, tensor in tensors.items()}


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered (every rank must ask); any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def is_sharded_model(model: object) -> bool:
    return isinstance(model, FSDPModule)
