from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from transformers import DynamicCache

from tests.models.tiny import FAMILIES, Path, a_forest, path_lists, tiny_model
from tooltune.models.forest_forward import flat_logits, forest_logits, supports_forest
from tooltune.render.forest import TokenForest, merge_paths

MODELS = {family: tiny_model(family) for family in FAMILIES}
families = pytest.mark.parametrize("family", sorted(FAMILIES))


def _alone(model: Any, paths: list[Path]) -> tuple[dict[tuple[int, ...], Tensor], Tensor]:
    """By transformers alone, one path at a time: logits behind each prefix, and Σ w·nll / Σ w."""
    logits, total, weight = {}, torch.zeros(()), 0.0
    for prompt, completion, weights in paths:
        scores = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        nll = torch.nn.functional.cross_entropy(scores, torch.tensor(completion), reduction="none")
        total = total + (nll * torch.tensor(weights)).sum()
        weight += sum(weights)
        for i in range(len(completion)):
            logits[tuple(prompt + completion[:i])] = scores[i]
    return logits, total / weight


def _merged(forest: TokenForest, logits: Tensor, rows: Tensor) -> Tensor:
    nll = torch.nn.functional.cross_entropy(
        logits.float()[rows], torch.from_numpy(forest.target_id), reduction="none"
    )
    return (nll * torch.from_numpy(forest.target_weight)).sum() / forest.total_weight


def _gradient(model: Any, loss: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def _assert_equal_to_flat(
    model: Any, paths: list[Path], forward: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    forest = merge_paths(paths)
    logits, rows = forward(model, forest)
    loss = _merged(forest, logits, rows)
    expected, expected_loss = _alone(model, paths)
    prefix = {
        int(node): tuple(forest.ids[p[: i + 1]].tolist())
        for p in forest.paths
        for i, node in enumerate(p)
    }
    theirs = torch.stack([expected[prefix[int(source)]] for source in forest.target_source])
    torch.testing.assert_close(logits[rows], theirs, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    ours, reference = _gradient(model, loss), _gradient(model, expected_loss)
    assert (ours - reference).norm() <= 1e-5 * reference.norm()


@families
@settings(max_examples=12)
@given(paths=path_lists())
def test_a_forest_equals_its_flat_sequences(family: str, paths: list[Path]) -> None:
    _assert_equal_to_flat(MODELS[family], paths, forest_logits)


@settings(max_examples=12)
@given(paths=path_lists())
def test_the_flat_fallback_equals_one_sequence_at_a_time(paths: list[Path]) -> None:
    _assert_equal_to_flat(MODELS["qwen2"], paths, flat_logits)


def test_the_flat_fallback_runs_every_leaf_once_and_no_path_inside_another() -> None:
    model = tiny_model("llama")
    shapes = []
    model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)),
        with_kwargs=True,
    )
    chain: list[Path] = [([1, 2], [3], [1.0]), ([1, 2, 3, 4], [5], [1.0]), ([1, 2], [3], [1.0])]
    flat_logits(model, merge_paths(chain))
    no_own_targets: Path = ([1, 2, 3, 9], [9], [0.0])
    flat_logits(model, merge_paths([*chain, no_own_targets]))
    assert shapes == [(1, 5), (1, 5)]


@families
def test_a_layer_run_again_by_activation_checkpointing_sees_its_own_forest(family: str) -> None:
    model = tiny_model(family)
    first, paths = a_forest()
    second = merge_paths([([5, 4, 3], [2, 1], [1.0, 1.0]), ([5, 4], [9], [1.0])])
    plain = [_gradient(model, _merged(f, *forest_logits(model, f))) for f in (first, second)]
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    # Both forwards before either backward: a plan kept in a global would be the second's for both.
    losses = [_merged(f, *forest_logits(model, f)) for f in (first, second)]
    for loss, expected in zip(losses, plain, strict=True):
        torch.testing.assert_close(_gradient(model, loss), expected)
    _assert_equal_to_flat(model, paths, forest_logits)


@families
def test_the_cache_holds_keys_and_values_in_forest_order(family: str) -> None:
    model = MODELS[family]
    forest, paths = a_forest()
    cache = DynamicCache()
    with torch.no_grad():
        forest_logits(model, forest, past_key_values=cache)
        for (prompt, completion, _), nodes in zip(paths, forest.paths, strict=True):
            alone = DynamicCache()
            model(torch.tensor([prompt + completion]), past_key_values=alone, use_cache=True)
            for ours, theirs in zip(cache.layers, alone.layers, strict=True):
                torch.testing.assert_close(ours.keys[:, :, nodes], theirs.keys)
                torch.testing.assert_close(ours.values[:, :, nodes], theirs.values)


def test_logits_are_computed_at_distinct_target_sources_only() -> None:
    forest, _ = a_forest()
    logits, rows = forest_logits(MODELS["llama"], forest)
    assert len(logits) == len(set(forest.target_source.tolist())) < len(rows)


def test_other_calls_of_a_model_do_not_notice_the_path_attention() -> None:
    fresh, used = tiny_model("qwen3"), tiny_model("qwen3")
    forest_logits(used, a_forest()[0])
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(
        fresh(ids, attention_mask=mask).logits, used(ids, attention_mask=mask).logits
    )
    assert torch.equal(fresh.generate(ids, **options), used.generate(ids, **options))


@pytest.mark.parametrize("autocast", [False, True])
def test_a_forest_runs_in_bf16(autocast: bool) -> None:
    forest, paths = a_forest()
    model = tiny_model("llama") if autocast else tiny_model("llama").to(torch.bfloat16)
    exact = _alone(tiny_model("llama"), paths)[1]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits, rows = forest_logits(model, forest)
    assert logits.dtype == torch.bfloat16
    loss = _merged(forest, logits, rows)
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0)
    assert _gradient(model, loss).isfinite().all()


@families
def test_plain_models_support_a_forest(family: str) -> None:
    assert supports_forest(MODELS[family]) is None


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}, "sliding"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "dynamic",
        ),
        ({"attn_implementation": "eager"}, "eager"),
    ],
)
def test_a_model_that_needs_flat_sequences_says_why(overrides: dict[str, Any], reason: str) -> None:
    assert reason in (supports_forest(tiny_model("qwen2", **overrides)) or "")


def test_any_other_object_needs_flat_sequences() -> None:
    assert supports_forest(torch.nn.Linear(2, 2)) == "Linear is no transformers model"


def test_a_model_with_a_state_along_the_row_needs_flat_sequences() -> None:
    from transformers import AutoModelForCausalLM, JambaConfig

    config = JambaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=1,
        num_experts_per_tok=1,
        attn_layer_period=2,
        attn_layer_offset=1,
        use_mamba_kernels=False,
    )
    assert supports_forest(AutoModelForCausalLM.from_config(config)) is not None


def test_a_lora_model_computes_its_forest_with_the_adapter() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        tiny_model("llama"),
        LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    )
    assert supports_forest(model) is None
    forest, paths = a_forest()
    with torch.no_grad():
        torch.testing.assert_close(
            _merged(forest, *forest_logits(model, forest)), _alone(model, paths)[1]
        )
