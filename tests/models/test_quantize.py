from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.models.families import family_model
from tests.models.tiny import a_forest
from tooltune.errors import UserError
from tooltune.models.forest_forward import flat_logits, forest_logits
from tooltune.models.load import load_model
from tooltune.models.merge import merge_lora
from tooltune.models.quantize import check_quantization, is_quantized
from tooltune.models.save import save_adapter, save_consolidated
from tooltune.train.lora import add_lora

IDS = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10]])
KINDS = ("nf4", "int8")


@pytest.fixture
def saved(tmp_path: Path, builtin_tokenizer: Any) -> Path:
    # 64 wide: NF4 shares one scale among 64 weights.
    model = family_model("llama", hidden_size=64, intermediate_size=128, head_dim=16)
    save_consolidated(model, builtin_tokenizer, tmp_path / "base", stop_ids=[2])
    return tmp_path / "base"


def adapted(directory: Path, kind: str | None, **options: Any) -> Any:
    model = add_lora(load_model(directory, quantization=kind), dim=4, alpha=8, **options)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_linear_layers_of_the_blocks_are_packed_and_nothing_else(
    saved: Path, kind: str
) -> None:
    plain, model = load_model(saved), load_model(saved, quantization=kind)
    assert is_quantized(model)
    assert not is_quantized(plain)
    packed = {
        n
        for n, m in model.named_modules()
        if type(m).__name__.startswith("Linear") and type(m) is not nn.Linear
    }
    linear = {n for n, m in plain.named_modules() if isinstance(m, nn.Linear)}
    assert packed == linear - {"lm_head"}
    kept = {n: p for n, p in model.named_parameters() if n.rpartition(".")[0] not in packed}
    assert kept
    for name, parameter in kept.items():
        assert torch.equal(parameter, plain.get_parameter(name))
    difference = (model(IDS).logits - plain(IDS).logits).abs().mean()
    assert 0 < difference < 0.5 * plain(IDS).logits.abs().mean()


@pytest.mark.parametrize(("kind", "dora"), [("nf4", False), ("nf4", True), ("int8", False)])
def test_only_adapters_get_gradients_and_the_packed_weights_stay(
    saved: Path, kind: str, dora: bool
) -> None:
    model = adapted(saved, kind, use_dora=dora, dropout=0.1).train()
    before = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_dora_on_int8_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match=r"use_dora(?s:.*)nf4"):
        adapted(saved, "int8", use_dora=True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_in_between_changes_no_gradient(saved: Path, kind: str) -> None:
    """bitsandbytes packs weights anew when a CPU generates: without a backward pass."""
    model = adapted(saved, kind)

    def gradients() -> dict[str, torch.Tensor]:
        model.train()
        model.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(IDS)
        model(IDS[:, :1])
    after = gradients()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], gradient) for name, gradient in after.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_forest_is_computed_as_its_flat_sequences(saved: Path, kind: str) -> None:
    model = adapted(saved, kind)
    forest, _ = a_forest()
    expected, rows = flat_logits(model, forest)
    logits, again = forest_logits(model, forest)
    scale = expected.abs().max()
    assert (logits[again] - expected[rows]).abs().max() < (1e-4 if kind == "nf4" else 5e-2) * scale


@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_model_is_the_unquantized_base_under_the_adapter(
    saved: Path, kind: str, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    """That is what a server that loads the adapter computes."""
    model = adapted(saved, kind)
    trained = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    served = adapted(saved, None)
    served.load_state_dict(trained, strict=False)
    save_consolidated(model, builtin_tokenizer, tmp_path / "merged", stop_ids=[2])
    save_adapter(model, tmp_path / "adapter")
    merged = load_model(tmp_path / "merged")
    assert not is_quantized(merged)
    assert not hasattr(merged.config, "quantization_config")
    torch.testing.assert_close(merged(IDS).logits, served(IDS).logits, rtol=1e-4, atol=1e-4)
    expected = merge_lora(served)
    assert merge_lora(model).keys() == expected.keys()
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size < 60_000


def test_bitsandbytes_says_nothing_when_it_comes_along() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import tooltune.models.load, bitsandbytes"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_what_cannot_be_quantized_is_said_before_anything_is_loaded(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"'fp8'(?s:.*)nf4, int8"):
        check_quantization("fp8", "cpu")
    with pytest.raises(UserError, match=r"no kernels for 'privateuseone'(?s:.*)plain LoRA"):
        check_quantization("nf4", torch.device("privateuseone"))
    with pytest.raises(UserError, match=r"4 processes(?s:.*)strategy: ddp"):
        check_quantization("nf4", "cpu", world_size=4, strategy="fsdp2")
    check_quantization("nf4", "cpu", world_size=4, strategy="ddp")
    check_quantization("nf4", "cpu", world_size=1, strategy="fsdp2")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else real(name)
    )
    with pytest.raises(UserError, match=r"bitsandbytes(?s:.*)pip install 'tooltune\[qlora\]'"):
        load_model(saved, quantization="nf4")


def test_weights_that_come_as_mxfp4_are_widened_to_be_trained(tmp_path: Path) -> None:
    """gpt-oss: 32 four-bit values to a scale, a power of two. OCP Microscaling Formats (MX) 1.0"""
    experts = write_mxfp4(family_model("gpt_oss", intermediate_size=64), tmp_path)
    model = load_model(tmp_path, for_training=True)
    assert not is_quantized(model)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name, values in experts.items():
        assert torch.equal(model.get_parameter(name), values), name
    model.train()(input_ids=IDS, labels=IDS).loss.backward()
    assert all(model.get_parameter(name).grad.any() for name in experts)
    adapted = add_lora(load_model(tmp_path, for_training=True), dim=4, alpha=8)
    merged = merge_lora(adapted, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in merged.values()} == {torch.bfloat16}


def test_weights_that_cannot_be_widened_are_refused_for_training(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"stored quantized \(awq\)(?s:.*)made from"):
        load_model(saved, for_training=True)


def write_mxfp4(model: Any, directory: Path) -> dict[str, torch.Tensor]:
    """Save `model` with experts as gpt-oss is published; the values that they then have."""
    model.save_pretrained(directory)
    file = directory / "model.safetensors"
    state = load_file(file)
    magnitudes = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    values = torch.cat([magnitudes, -magnitudes])
    generator = torch.Generator().manual_seed(0)
    experts = {}
    for name in [n for n in state if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        n, inputs, outputs = state.pop(name).shape
        shape = (n, outputs, inputs // 32)
        blocks = torch.randint(256, (*shape, 16), dtype=torch.uint8, generator=generator)
        scales = torch.randint(120, 126, shape, dtype=torch.uint8, generator=generator)
        state[f"{name}_blocks"], state[f"{name}_scales"] = blocks, scales
        pairs = torch.stack([values[(blocks & 15).long()], values[(blocks >> 4).long()]], -1)
        wide = pairs.flatten(-2) * torch.exp2(scales.float() - 127)[..., None]
        experts[name] = wide.flatten(-2).transpose(1, 2)
    save_file(state, file, metadata={"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": []}
    (directory / "config.json").write_text(json.dumps(config))
    return experts
