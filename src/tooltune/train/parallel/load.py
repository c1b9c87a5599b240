"""A whole model on rank 0, made into a sharded one on all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from tooltune.config.schema import Distributed
from tooltune.models.blocks import base_model
from tooltune.models.forest_forward import Model
from tooltune.train.parallel.mesh import make_mesh
from tooltune.train.parallel.shard import full_tensors, materialise, send_weights, shard_model
from tooltune.train.parallel.world import World

Wrap = Callable[[PreTrainedModel], Model]
"""What is done to a plain model before it is sharded: adapters, checkpointing, compilation."""


def load_sharded(
    load: Callable[[], PreTrainedModel],
    wrap: Wrap,
    settings: Distributed,
    world: World,
    compute_dtype: torch.dtype,
) -> Model:
    """The model of `load`, wrapped and sharded over all ranks.

    `load` runs on rank 0 alone and returns a model on a CPU; the others never hold a whole one.
    `wrap` runs on every rank and must do the same on each. Raises on every rank what either of
    them raises on one.
    """
    source: Model | None = None
    plan: Plan | None = None
    error: Exception | None = None
    if world.is_main:
        try:
            plain = load()
            plan = Plan.of(plain)
            source = wrap(plain)
        except Exception as problem:
            error = problem
    world.agree(error, "loading the model")
    plan = world.broadcast(plan)
    assert plan is not None
    made = plan
    model = world.together(lambda: wrap(made.without_storage()), "loading the model")
    mesh = make_mesh(settings, world)

    def shard() -> None:
        shard_model(model, mesh, compute_dtype, reshard=settings.reshard_after_forward)
        materialise(model, world.device)

    world.together(shard, "sharding the model")
    send_weights(source, model, world)
    return model


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a plain model but its tensors. `dtypes` are those of what is kept in another type
    than the model's own, as its class asks for (a router's bias, say)."""

    config: Any
    generation_config: Any
    dtypes: dict[str, torch.dtype]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Plan:
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        other = {
            name: tensor.dtype
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and tensor.dtype != model.dtype
        }
        return cls(copy.deepcopy(model.config), copy.deepcopy(model.generation_config), other)

    def without_storage(self) -> PreTrainedModel:
        """The model on the meta device, in evaluation mode."""
        config = copy.deepcopy(self.config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                config, dtype=config.dtype, attn_implementation=config._attn_implementation
            )
        assert isinstance(model, PreTrainedModel)
        for name, dtype in self.dtypes.items():
            owner, _, leaf = name.rpartition(".")
            module = model.get_submodule(owner)
            _put(module, leaf, getattr(module, leaf).detach().to(dtype), trained=True)
        # `from_config` makes one up; the stop tokens of many models stand in its own file alone.
        model.generation_config = copy.deepcopy(self.generation_config)
        return model.eval()


def whole_copy(model: Model, wrap: Wrap, dtype: torch.dtype) -> Model:
    """An unsharded copy of a sharded model on every rank, floating tensors as `dtype`.

    For evaluation in another type than the one it computes in; every rank must ask.
    """
    there = full_tensors(model)
    base = base_model(model)
    made = wrap(Plan(base.config, base.generation_config, {}).without_storage())
    owners: dict[str, nn.Module] = dict(made.named_modules())
    for name, tensor in there.items():
        owner, _, leaf = name.rpartition(".")
        module = owners[owner]
        wide = tensor.to(dtype) if tensor.is_floating_point() else tensor
        _put(module, leaf, wide)
    return made.eval()


def _put(module: nn.Module, name: str, tensor: Tensor, *, trained: bool = False) -> None:
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(tensor, requires_grad=trained)
    else:
        module._buffers[name] = tensor
