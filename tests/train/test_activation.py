from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.models.families import MIXTURES, family_model
from tests.models.tiny import a_forest
from tooltune.errors import UserError
from tooltune.models.blocks import decoder_blocks
from tooltune.models.forest_forward import forest_logits, supports_forest
from tooltune.train.activation import apply_activation_checkpointing
from tooltune.train.lora import add_lora

KINDS = ("selective", "full")
IDS = torch.arange(3, 51).view(2, 24)
Gradients = dict[str, torch.Tensor]


def step(model: Any, *, forest: bool = False) -> tuple[torch.Tensor, Gradients]:
    """Logits of one training pass and the gradients of their sum of squares, from a fixed seed."""
    model.train()
    model.zero_grad()
    torch.manual_seed(5)
    logits = (
        forest_logits(model, a_forest()[0])[0]
        if forest
        else model(input_ids=IDS, use_cache=False).logits
    )
    logits.square().sum().backward()
    return logits.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_same(one: tuple[torch.Tensor, Gradients], other: tuple[torch.Tensor, Gradients]) -> None:
    assert torch.equal(one[0], other[0])
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(one[1][name], gradient) for name, gradient in other[1].items())
    assert any(gradient.any() for gradient in one[1].values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", *MIXTURES])
def test_gradients_are_bitwise_those_without_checkpointing(family: str, kind: Any) -> None:
    model = family_model(family)
    plain = step(model)
    apply_activation_checkpointing(model, kind)
    assert_same(step(model), plain)
    apply_activation_checkpointing(model, "none")
    assert_same(step(model), plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("family", "dropouts"),
    [
        ("llama", {"attention_dropout": 0.2}),
        ("gpt2", {"attn_pdrop": 0.2, "resid_pdrop": 0.1, "embd_pdrop": 0.1}),
    ],
)
def test_dropout_drops_the_same_the_second_time(
    family: str, dropouts: dict[str, float], kind: Any
) -> None:
    model = family_model(family, **dropouts)
    plain = step(model)
    torch.manual_seed(6)
    assert not torch.equal(model(input_ids=IDS, use_cache=False).logits, plain[0]), (
        "nothing was dropped"
    )
    apply_activation_checkpointing(model, kind)
    assert_same(step(model), plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dora", [False, True])
def test_adapters_with_dropout_get_the_same_gradients_over_a_forest(kind: Any, dora: bool) -> None:
    model = add_lora(family_model("qwen3"), dim=4, alpha=8, dropout=0.3, use_dora=dora)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    assert supports_forest(model) is None
    plain = step(model, forest=True)
    apply_activation_checkpointing(model, kind)
    assert_same(step(model, forest=True), plain)


def test_each_kind_keeps_less_than_the_one_before() -> None:
    model = family_model("llama", num_hidden_layers=4)
    kept = {}
    for kind in ("none", *KINDS):
        apply_activation_checkpointing(model, kind)  # type: ignore[arg-type]
        kept[kind] = bytes_kept_for_the_backward_pass(model)
    assert kept["full"] * 2 < kept["selective"], kept
    assert kept["selective"] * 1.5 < kept["none"], kept


def test_a_block_runs_twice_in_training_and_once_otherwise() -> None:
    model = family_model("llama")
    apply_activation_checkpointing(model, "full")
    calls: list[str] = []
    norm = decoder_blocks(model)[1].get_submodule("input_layernorm")
    norm.register_forward_hook(lambda *_: calls.append("run"))
    step(model)
    assert len(calls) == 2
    model.eval()
    model(input_ids=IDS, use_cache=False).logits.sum().backward()
    with torch.no_grad():
        model(input_ids=IDS, use_cache=False)
    assert len(calls) == 4


def test_blocks_that_cannot_be_run_again_are_a_user_error() -> None:
    model = family_model("llama")

    class Block(torch.nn.Module):
        pass

    model._no_split_modules = {"Block"}
    model.model.layers = torch.nn.ModuleList([Block(), Block()])
    apply_activation_checkpointing(model, "none")
    with pytest.raises(UserError, match="Block of this model cannot"):
        apply_activation_checkpointing(model, "full")


@pytest.mark.parametrize("kind", KINDS)
def test_sharded_blocks_are_checkpointed_inside_their_hooks(kind: Any, tmp_path: Any) -> None:
    model = family_model("llama", attention_dropout=0.2)
    plain = step(model)
    with one_process_group(tmp_path / "store"):
        apply_activation_checkpointing(model, kind)
        mesh = init_device_mesh("cpu", (1,))
        policy = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32)
        for block in decoder_blocks(model):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)
        logits, gradients = step(model)
        assert_same((logits, {n: g.full_tensor() for n, g in gradients.items()}), plain)  # type: ignore[attr-defined]


@contextmanager
def one_process_group(store: Any) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def bytes_kept_for_the_backward_pass(model: Any) -> int:
    """Bytes of every storage that a forward pass made and that is alive after it."""
    model.train()
    with _Storages() as storages:
        loss = model(input_ids=IDS, use_cache=False).logits.float().sum()
    kept = storages.alive()
    loss.backward()
    return kept


class _Storages(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        inputs = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            if storage._cdata not in inputs:  # neither a view nor written in place
                self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return out

    def alive(self) -> int:
        return sum(size for reference, size in self._made.values() if not reference.expired())


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
