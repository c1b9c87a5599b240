from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM

from tests.models.families import MIXTURES, family_model
from tooltune.errors import UserError
from tooltune.train.lora import adapter_remarks, add_lora
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


def test_every_layer_that_the_refusal_names_can_be_had() -> None:
    for tied in (True, False):
        with pytest.raises(UserError) as refused:
            add_lora(tiny(tied=tied), dim=4, alpha=8, target_modules=["nope_proj"])
        named = str(refused.value.fix).partition("some of: ")[2].split(", ")
        assert ("lm_head" in named) is not tied
        assert adapted_layers(
            add_lora(tiny(tied=tied), dim=4, alpha=8, target_modules=named)
        ) == set(named)


def test_dora_starts_where_the_model_is_and_trains_direction_and_length() -> None:
    base = tiny()
    before = base(IDS).logits
    model = add_lora(base, dim=4, alpha=8, use_dora=True)
    torch.testing.assert_close(model(IDS).logits, before, rtol=1e-5, atol=1e-6)
    fresh = adapters(model)
    assert sum("lora_magnitude_vector" in name for name in fresh) == 2 * 7
    train_a_little(model)
    assert all(not torch.equal(tensor, fresh[name]) for name, tensor in adapters(model).items())


def test_dora_is_fp32_over_a_bf16_base_too() -> None:
    model = add_lora(tiny(dtype=torch.bfloat16), dim=4, alpha=8, dropout=0.1, use_dora=True)
    assert {p.dtype for p in adapters(model).values()} == {torch.float32}
    train_a_little(model.train())


@pytest.mark.parametrize("dora", [False, True])
def test_adapters_go_on_a_model_without_storage(dora: bool) -> None:
    with torch.device("meta"):
        empty = tiny()
    model = add_lora(empty, dim=4, alpha=8, use_dora=dora)
    whole = add_lora(tiny(), dim=4, alpha=8, use_dora=dora)
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in whole.state_dict().items()}
    assert {n: (t.shape, t.dtype) for n, t in model.state_dict().items()} == shapes
    assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize("family", MIXTURES)
def test_experts_keep_their_weights_and_a_remark_says_so(family: str) -> None:
    model = add_lora(family_model(family), dim=4, alpha=8)
    assert adapted_layers(model) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    (remark,) = adapter_remarks(model)
    assert remark.startswith("the experts (")
    assert remark.endswith("adapters train q_proj, k_proj, v_proj, o_proj")


def test_dense_layers_that_peft_takes_for_experts_get_no_adapter_and_are_named() -> None:
    model = add_lora(family_model("qwen3_moe", mlp_only_layers=[0]), dim=4, alpha=8)
    assert adapted_layers(model) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert "and neither do down_proj, gate_proj, up_proj" in adapter_remarks(model)[0]
    with pytest.raises(UserError, match=r"'up_proj' matches no linear layer .*fused"):
        add_lora(
            family_model("qwen3_moe", mlp_only_layers=[0]), dim=4, alpha=8, target_modules="up_proj"
        )


def test_conv1d_layers_are_adapted_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    model = add_lora(family_model("gpt2"), dim=4, alpha=8)
    assert adapted_layers(model) == {"c_attn", "c_proj", "c_fc"}
    assert not recwarn.list


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        ({"dim": 16}, None),
        ({"dim": 17}, "--max-lora-rank 32"),
        ({"dim": 512}, "--max-lora-rank 512"),
        ({"dim": 513}, "up to rank 512"),
        ({"dim": 8, "use_dora": True}, "no DoRA adapter"),
    ],
)
def test_a_remark_says_how_the_adapter_can_be_served(
    options: dict[str, Any], remark: str | None
) -> None:
    remarks = adapter_remarks(add_lora(tiny(), alpha=8, **options))
    assert len(remarks) == (remark is not None)
    assert all(remark in line for line in remarks if remark)


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
