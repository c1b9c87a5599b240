"""The memory estimate against what tensors really take, and what must hold of any estimate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.tensor import DTensor

from tests.models.families import family_model
from tests.ranks import results_of
from tests.train.sizing.live_memory import LiveMemory
from tests.train.tiny_run import save_tiny_model, tiny_config
from tooltune.config.load import load_config
from tooltune.config.schema import Config
from tooltune.models.forest_forward import flat_logits, forest_logits, supports_forest
from tooltune.models.known_shapes import KNOWN, known_shape
from tooltune.models.load import load_tokenizer
from tooltune.models.shapes import ModelShape, count_shape, shape_of
from tooltune.render.forest import merge_paths
from tooltune.render.types import Turn
from tooltune.train.activation import apply_activation_checkpointing
from tooltune.train.batches import MicroBatch
from tooltune.train.lora import add_lora
from tooltune.train.loss import weighted_nll
from tooltune.train.parallel.world import World
from tooltune.train.precision import MasterWeights
from tooltune.train.sizing.memory import (
    GIB,
    Batch,
    MemoryEstimate,
    estimate_memory,
    trained_parameters,
)
from tooltune.train.trainee import build_trainee

TOKENS, TARGETS, VOCABULARY = 192, 48, 320
# Wide enough for the tensors that grow with the width to be the ones that count.
WIDE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def config_of(**sections: Any) -> Config:
    """A config of no particular model; `sections` as in the file."""
    model = {"pretrained_model_name_or_path": "me/model", **sections.pop("model", {})}
    dataset = {"path": "traces.jsonl", **sections.pop("dataset", {})}
    base = {"model": model, "dataset": dataset, **sections}
    return load_config(None, base=base)


def known(name: str) -> ModelShape:
    shape = known_shape(name)
    assert shape is not None
    return shape


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def a_batch() -> MicroBatch:
    prompt, completion = list(range(4, TOKENS - TARGETS + 4)), list(range(TARGETS))
    turn = Turn("trace", 1, tuple(prompt), tuple(completion), (1.0,) * TARGETS, "", "")
    return MicroBatch((turn,), merge_paths([(prompt, completion, [1.0] * TARGETS)]))


# --- what is there whatever the batch ------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), builtin_tokenizer)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    "peft",
    [None, {"dim": 4}, {"dim": 4, "use_dora": True}, {"dim": 3, "target_modules": ["q_proj"]}],
)
def test_weights_masters_gradients_and_moments_are_those_of_a_real_step(
    tiny: Path, tmp_path: Path, dtype: str, peft: dict[str, Any] | None
) -> None:
    config = tiny_config(tiny, tmp_path / "data", tmp_path / "out", dtype=dtype, peft=peft)
    trainee = build_trainee(config, load_tokenizer(tiny))
    trainee.nll(a_batch()).backward()
    masters = trainee.masters.parameters()
    gradients = bytes_of(p.grad for p in masters.values() if p.grad is not None)
    trainee.optimizer.step()
    parameters = dict(trainee.model.named_parameters())
    moments = [state[key] for state in trainee.optimizer.state.values() for key in _MOMENTS]
    apart = [p for name, p in masters.items() if p is not parameters[name]]

    items = estimate_memory(config, shape_of(tiny), 1, Batch(TOKENS, TARGETS)).items
    assert items["weights"] == bytes_of(parameters.values())
    assert items.get("masters", 0) == bytes_of(apart)
    assert items["gradients"] == gradients
    assert items["optimizer"] == bytes_of(moments)


_MOMENTS = ("exp_avg", "exp_avg_sq")


@pytest.mark.slow
@pytest.mark.parametrize("peft", [None, {"dim": 4}])
def test_two_ranks_hold_what_is_estimated_for_each(
    tiny: Path, tmp_path: Path, peft: dict[str, Any] | None
) -> None:
    config = tiny_config(tiny, tmp_path / "data", tmp_path / "out", dtype="bfloat16", peft=peft)
    ranks = results_of(_bytes_of_a_rank, 2, config, tiny)
    items = estimate_memory(config, shape_of(tiny), 2, Batch(TOKENS, TARGETS)).items
    for name in ("weights", "gradients", "optimizer"):
        held = sum(rank[name] for rank in ranks) / 2
        assert held == pytest.approx(items[name], rel=0.01), name
    assert "masters" not in items


def _bytes_of_a_rank(world: World, config: Config, model: Path) -> dict[str, int]:
    trainee = build_trainee(config, load_tokenizer(model), world)
    trainee.nll(a_batch()).backward()
    trainee.gather_gradients()
    masters = trainee.masters.parameters()
    gradients = bytes_of(_local(p.grad) for p in masters.values() if p.grad is not None)
    trainee.optimizer.step()
    moments = [state[key] for state in trainee.optimizer.state.values() for key in _MOMENTS]
    return {
        "weights": bytes_of(map(_local, trainee.model.parameters())),
        "gradients": gradients,
        "optimizer": bytes_of(map(_local, moments)),
    }


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        *((family, {}) for family in ("llama", "qwen2", "qwen3", "mixtral", "gemma3", "gpt2")),
        ("qwen3_moe", {"mlp_only_layers": [0]}),  # a dense layer between fused experts
    ],
)
@pytest.mark.parametrize(
    "peft",
    [
        {"dim": 4},
        {"dim": 4, "use_dora": True},
        {"dim": 8, "target_modules": ["q_proj", "v_proj"]},
        {"dim": 2, "target_modules": ["*.self_attn.*"]},
        {"dim": 2, "target_modules": ["model.layers.1.self_attn.o_proj", "k_proj"]},
    ],
)
def test_the_trained_parameters_are_those_that_adapters_have(
    family: str, overrides: dict[str, Any], peft: dict[str, Any]
) -> None:
    if family == "gpt2" and "target_modules" in peft:
        peft = {**peft, "target_modules": ["c_attn"]}
    model = family_model(family, **overrides)
    shape = count_shape("", "", model.config)
    config = config_of(peft=peft)
    assert config.peft is not None
    adapted = add_lora(
        model,
        dim=config.peft.dim,
        alpha=config.peft.alpha,
        target_modules=config.peft.target_modules,
        use_dora=config.peft.use_dora,
    )
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trained_parameters(config, shape) == trained


# --- what grows with the batch -------------------------------------------------------------------


def measured(config: Config, family: str, **overrides: Any) -> tuple[MemoryEstimate, int, int]:
    """The estimate for a small model, the bytes that its forward pass left, and the peak."""
    dtype = DTYPES[config.model.dtype]
    model = family_model(family, **WIDE, **overrides).train()
    shape = count_shape("", "", model.config)
    apply_activation_checkpointing(model, config.model.activation_checkpointing)
    if config.peft is not None:
        model = add_lora(
            model.to(dtype),
            dim=config.peft.dim,
            alpha=config.peft.alpha,
            dropout=config.peft.dropout,
            use_dora=config.peft.use_dora,
        )
    masters = MasterWeights(model, dtype)
    model.train()
    forest = a_batch().forest
    forward = flat_logits if supports_forest(model) else forest_logits

    def loss() -> torch.Tensor:
        logits, rows = forward(model, forest)
        ids, weights = torch.from_numpy(forest.target_id), torch.from_numpy(forest.target_weight)
        return weighted_nll(logits, ids, weights, rows=rows)

    loss().backward()  # from the second micro-batch on, gradients are there all the time
    owned = masters.parameters().values()
    gradients = [p.grad for p in owned if p.grad is not None]
    with LiveMemory([*model.parameters(), *model.buffers(), *owned, *gradients]) as memory:
        second = loss()
        left = memory.now
        second.backward()
    estimate = estimate_memory(config, shape, 1, Batch(TOKENS, TARGETS))
    return estimate, left, memory.peak


VARIANTS: dict[str, dict[str, Any]] = {
    "all weights": {},
    "all weights, fp32": {"model": {"dtype": "float32"}},
    "LoRA": {"peft": {"dim": 8}},
    "LoRA with dropout": {"peft": {"dim": 8, "dropout": 0.1}},
}


@pytest.mark.parametrize(
    ("family", "variant"),
    [
        *(("llama", variant) for variant in VARIANTS),
        ("qwen2", "all weights"),
        ("qwen3", "all weights"),
        ("qwen3", "LoRA"),
        ("qwen3_moe", "all weights"),
    ],
)
def test_activations_are_within_seven_percent_of_what_is_kept(family: str, variant: str) -> None:
    estimate, left, _ = measured(config_of(**VARIANTS[variant]), family)
    # After the forward pass the logits are there, and their gradient is not.
    expected = estimate.items["activations"] + estimate.items["logits"] / 2
    assert left == pytest.approx(expected, rel=0.07)


@pytest.mark.parametrize(
    ("family", "variant"), [("gemma3", "all weights"), ("gemma3", "LoRA"), ("qwen3_moe", "LoRA")]
)
def test_other_blocks_are_within_a_fifth(family: str, variant: str) -> None:
    estimate, left, _ = measured(config_of(**VARIANTS[variant]), family)
    expected = estimate.items["activations"] + estimate.items["logits"] / 2
    assert left == pytest.approx(expected, rel=0.20)


@pytest.mark.parametrize("kind", ["selective", "full"])
@pytest.mark.parametrize("peft", [None, {"dim": 8}])
def test_checkpointing_keeps_what_is_estimated(kind: str, peft: dict[str, Any] | None) -> None:
    config = config_of(model={"activation_checkpointing": kind}, peft=peft)
    estimate, left, _ = measured(config, "llama")
    whole = measured(config_of(peft=peft), "llama")[0].items["activations"]
    last_norm = TOKENS * WIDE["hidden_size"] * (4 + (2 if peft is None else 0))
    computed_again = (whole - last_norm) / WIDE["num_hidden_layers"]  # one layer, not there yet
    expected = estimate.items["activations"] - computed_again + estimate.items["logits"] / 2
    assert left == pytest.approx(expected, rel=0.07)


@pytest.mark.parametrize("kind", ["none", "selective", "full"])
@pytest.mark.parametrize("peft", [None, {"dim": 8}])
def test_the_peak_of_a_step_is_no_more_and_little_less(
    kind: str, peft: dict[str, Any] | None
) -> None:
    config = config_of(model={"activation_checkpointing": kind}, peft=peft)
    estimate, _, peak = measured(config, "llama")
    grows = estimate.items["activations"] + estimate.items["logits"] + estimate.items["backward"]
    assert 0.97 < grows / peak < (1.15 if kind == "none" else 1.35), grows / peak


def test_eager_attention_keeps_a_matrix_for_each_head() -> None:
    config = config_of(model={"attn_implementation": "eager"})
    estimate, left, _ = measured(config, "llama", attn_implementation="eager")
    items = estimate.items
    assert items["scores"] > items["activations"] / 4
    expected = items["activations"] + items["scores"] + items["logits"] / 2
    assert left == pytest.approx(expected, rel=0.15)


# --- what must hold of any estimate --------------------------------------------------------------

models = st.sampled_from(sorted(KNOWN)).map(known)
pefts = st.sampled_from([None, {"dim": 16}, {"dim": 64, "dropout": 0.1}, {"quantization": "nf4"}])
kinds = st.sampled_from(["none", "selective", "full"])
attention = st.sampled_from(["sdpa", "eager"])


@st.composite
def configs(draw: st.DrawFn) -> Config:
    model = {
        "activation_checkpointing": draw(kinds),
        "attn_implementation": draw(attention),
        "dtype": draw(st.sampled_from(sorted(DTYPES))),
    }
    return config_of(model=model, peft=draw(pefts))


@given(configs(), models, st.sampled_from([1, 2, 8, 64]), st.integers(24, 300))
def test_the_largest_micro_batch_fits_and_a_larger_one_does_not(
    config: Config, shape: ModelShape, gpus: int, gib: int
) -> None:
    few = estimate_memory(config, shape, gpus, Batch(4000, 1000))
    tokens = few.tokens_within(gib * GIB) // 4 * 4
    if tokens:
        assert estimate_memory(config, shape, gpus, Batch(tokens, tokens // 4)).total <= gib * GIB
    more = tokens + 8
    assert estimate_memory(config, shape, gpus, Batch(more, more // 4)).total > gib * GIB


@given(configs(), models)
def test_the_items_add_up_and_grow_with_the_batch(config: Config, shape: ModelShape) -> None:
    one, two = (estimate_memory(config, shape, 1, Batch(n, n // 4)) for n in (1000, 2000))
    assert one.total == pytest.approx(sum(one.items.values()))
    assert set(one.why) >= set(one.items)
    assert two.total > one.total
    assert two.fixed == pytest.approx(one.fixed, rel=1e-6)


@given(models, kinds)
def test_more_shards_hold_less_each(shape: ModelShape, kind: str) -> None:
    config = config_of(model={"activation_checkpointing": kind})
    totals = [
        estimate_memory(config, shape, gpus, Batch(4096, 1024)).total for gpus in (2, 4, 8, 16, 64)
    ]
    assert totals == sorted(totals, reverse=True)


@given(models, st.sampled_from([1, 8]))
def test_each_way_to_save_memory_does(shape: ModelShape, gpus: int) -> None:
    def total(**sections: Any) -> float:
        return estimate_memory(config_of(**sections), shape, gpus, Batch(4096, 1024)).total

    plain = total()
    selective = total(model={"activation_checkpointing": "selective"})
    assert plain > selective > total(model={"activation_checkpointing": "full"})
    assert plain > total(peft={"dim": 16})
    ddp = {"strategy": "ddp"}
    lora = total(peft={"dim": 16}, distributed=ddp)
    assert lora > total(peft={"dim": 16, "quantization": "nf4"}, distributed=ddp)
    if gpus > 1:
        assert plain < total(distributed=ddp)
        assert plain < total(distributed={"reshard_after_forward": False})


def test_copies_hold_what_one_group_of_shards_does() -> None:
    shape, batch = known("Qwen2.5-7B"), Batch(4096, 1024)
    one = estimate_memory(config_of(), shape, 8, batch)
    copies = config_of(distributed={"dp_replicate_size": 4})
    four = estimate_memory(copies, shape, 32, batch)
    assert four.items == one.items
    assert four.layout == "4 copies, each over 8 GPUs (HSDP)"


def test_the_full_fine_tuning_of_the_example_is_eighteen_bytes_a_parameter() -> None:
    shape = known("Qwen2.5-3B")
    items = estimate_memory(config_of(), shape, 1, Batch(4096, 1024)).items
    state = sum(items[name] for name in ("weights", "masters", "gradients", "optimizer"))
    assert state == 18 * shape.parameters
    sharded = estimate_memory(config_of(), shape, 8, Batch(4096, 1024)).items
    state = sum(sharded[name] for name in ("weights", "gradients", "optimizer"))
    assert state == 16 * shape.parameters / 8
