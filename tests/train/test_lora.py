from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM

from tooltune.errors import UserError
from tooltune.train.lora import add_lora
from tooltune.train.optim import clip_gradients, make_optimizer
from tooltune.train.precision import MasterWeights

IDS = torch.arange(12).view(2, 6)


def tiny(*, tied: bool = True, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def adapters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def adapted_layers(model: torch.nn.Module) -> set[str]:
    return {name.split(".lora_")[0].rpartition(".")[2] for name in adapters(model)}


def train_a_little(model: PeftModel, dtype: torch.dtype = torch.float32) -> MasterWeights:
    masters = MasterWeights(model, dtype)
    optimizer = make_optimizer(masters.parameters(), lr=0.05)
    for _ in range(3):
        model(input_ids=IDS, labels=IDS).loss.backward()
        clip_gradients(masters.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        masters.write_back()
    return masters


def test_all_linear_layers_but_the_head_get_an_adapter() -> None:
    model = add_lora(tiny(tied=False), dim=4, alpha=8)
    linear = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert adapted_layers(model) == linear
    assert len(adapters(model)) == 2 * 7 * 2
    assert set(model.peft_config["default"].target_modules) == linear


def test_a_fresh_adapter_changes_no_output() -> None:
    base = tiny()
    before = base(IDS).logits
    assert torch.equal(add_lora(base, dim=4, alpha=8)(IDS).logits, before)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("q_proj", 2),
        (["q_proj", "v_proj"], 4),
        (["model.layers.1.mlp.up_proj"], 1),
        (["layers.0.self_attn.q_proj", "layers.1.mlp.up_proj"], 2),
        ("*.self_attn.*", 8),
        (["*.1.mlp.*", "k_proj"], 5),
    ],
)
def test_targets_are_names_paths_or_patterns(targets: str | list[str], expected: int) -> None:
    assert len(adapters(add_lora(tiny(), dim=2, alpha=2, target_modules=targets))) == 2 * expected


def test_a_target_that_matches_nothing_lists_what_there_is() -> None:
    with pytest.raises(
        UserError, match=r"'qkv_proj' matches no linear[\s\S]*q_proj, k_proj, v_proj"
    ):
        add_lora(tiny(), dim=4, alpha=8, target_modules=["q_proj", "qkv_proj"])
    with pytest.raises(UserError, match="matches no linear"):
        add_lora(tiny(), dim=4, alpha=8, target_modules="input_layernorm")
    with pytest.raises(UserError, match="empty"):
        add_lora(tiny(), dim=4, alpha=8, target_modules=[])
    with pytest.raises(UserError, match="rank"):
        add_lora(tiny(), dim=0, alpha=8)


def test_a_tied_head_is_refused_and_a_free_one_allowed() -> None:
    with pytest.raises(UserError, match="lm_head shares its weight"):
        add_lora(tiny(tied=True), dim=4, alpha=8, target_modules=["lm_head"])
    model = add_lora(tiny(tied=False), dim=4, alpha=8, target_modules=["lm_head"])
    assert adapted_layers(model) == {"lm_head"}


def test_the_seed_alone_decides_the_adapter_and_the_global_state_is_kept() -> None:
    torch.manual_seed(1)
    first = adapters(add_lora(tiny(), dim=4, alpha=8, seed=7))
    base = tiny()
    torch.manual_seed(999)
    before = torch.get_rng_state()
    second = adapters(add_lora(base, dim=4, alpha=8, seed=7))
    assert torch.equal(torch.get_rng_state(), before)
    third = adapters(add_lora(tiny(), dim=4, alpha=8, seed=8))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_adapters_and_their_gradients_are_fp32_over_a_bf16_base() -> None:
    model = add_lora(tiny(dtype=torch.bfloat16), dim=4, alpha=8, dropout=0.1).train()
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    assert {p.dtype for p in frozen.values()} == {torch.bfloat16}
    assert {p.dtype for p in adapters(model).values()} == {torch.float32}
    model(input_ids=IDS, labels=IDS).loss.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert {g.dtype for g in gradients if g is not None} == {torch.float32}
    model.zero_grad()
    before = adapters(model)
    train_a_little(model)
    after = dict(model.named_parameters())
    assert {after[name].dtype for name in before} == {torch.float32}
    assert all(not torch.equal(after[name], before[name]) for name in before)
    assert all(torch.equal(after[name], value) for name, value in frozen.items())


def test_adapters_may_also_compute_in_bf16_over_fp32_masters() -> None:
    model = add_lora(tiny(dtype=torch.bfloat16), dim=4, alpha=8)
    masters = train_a_little(model, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {m.dtype for m in masters.parameters().values()} == {torch.float32}
    with masters.in_model():
        assert {p.dtype for p in adapters(model).values()} == {torch.float32}


def test_plain_peft_loads_the_trained_adapter_and_merging_keeps_the_outputs(tmp_path: Path) -> None:
    model = add_lora(tiny(), dim=4, alpha=8)
    train_a_little(model)
    expected = model.eval()(IDS).logits
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny(), tmp_path).eval()
    torch.testing.assert_close(loaded(IDS).logits, expected)
    assert not torch.allclose(tiny()(IDS).logits, expected, atol=1e-3), "training did nothing"
    torch.testing.assert_close(
        loaded.merge_and_unload()(IDS).logits, expected, rtol=1e-4, atol=1e-5
    )
