"""Each way to train, from a configuration to a model that others load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.models.families import family_model
from tests.train.tiny_run import metrics, save_tiny_model, tiny_config, write_traces
from tooltune.errors import UserError
from tooltune.models.load import load_model
from tooltune.train.recipe import train

SHORT: dict[str, Any] = {
    "step_scheduler": {"global_batch_size": 3, "num_epochs": 1},
    "tool_call_eval": {"enabled": False},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_traces(tmp_path_factory.mktemp("data") / "traces.jsonl", 8)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("llama"), builtin_tokenizer)


def mixture(family: str, directory: Path, tokenizer: Any) -> Path:
    model = family_model(
        family,
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        max_position_embeddings=2048,
        initializer_range=0.02,
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in metrics(run) if line["kind"] == "val"]


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
@pytest.mark.parametrize("peft", [{}, {"peft": {"dim": 4}}])
def test_a_mixture_of_experts_trains_as_it_is(
    family: str, peft: dict[str, Any], data: Path, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    model = mixture(family, tmp_path / "model", builtin_tokenizer)
    run = train(tiny_config(model, data, tmp_path / "run", **SHORT | peft)).directory
    assert losses(run)[-1] < losses(run)[0]
    saved = run / "checkpoints/LATEST/model/consolidated"
    before, after = load_model(model).state_dict(), load_model(saved).state_dict()
    assert before.keys() == after.keys()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    experts = {name for name in after if ".experts." in name}
    routers = {name for name in after if name.endswith("gate.weight")}
    assert len(experts) == 4
    assert len(routers) == 2
    if peft:
        assert changed == {name for name in after if ".self_attn." in name and "_proj" in name}
        assert "no linear layers and get no adapter" in (run / "train.log").read_text()
    else:
        assert experts | routers <= changed


@pytest.mark.parametrize(
    "variant",
    [
        {"peft": {"dim": 4, "use_dora": True, "dropout": 0.1}},
        {"peft": {"dim": 4, "quantization": "nf4"}},
        {"peft": {"dim": 4, "quantization": "int8"}},
        {"peft": {"dim": 4, "dropout": 0.1}, "model": {"activation_checkpointing": "selective"}},
        {"model": {"activation_checkpointing": "full"}},
        {"deterministic": True},
        pytest.param(
            {"peft": {"dim": 4}, "model": {"compile": True, "activation_checkpointing": "full"}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda variant: json.dumps(variant),
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_variant_trains_and_is_saved_as_any_other(
    variant: dict[str, Any], dtype: str, llama: Path, data: Path, tmp_path: Path
) -> None:
    config = tiny_config(llama, data, tmp_path / "run", dtype=dtype, **SHORT | variant)
    run = train(config).directory
    assert losses(run)[-1] < losses(run)[0]
    saved = run / "checkpoints/LATEST/model"
    merged = load_model(saved / "consolidated")
    plain = load_model(llama)
    assert type(merged) is type(plain)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    if "peft" in variant:
        ids = torch.arange(3, 40)[None]
        base = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
        adapted = PeftModel.from_pretrained(base, saved / "adapter").eval()
        tolerance = 1e-4 if dtype == "float32" else 2e-2  # the merged one is saved in bf16
        torch.testing.assert_close(
            adapted(ids).logits, merged(ids).logits, rtol=tolerance, atol=tolerance
        )
        assert load_file(saved / "adapter" / "adapter_model.safetensors")


def test_checkpointing_changes_no_bit_of_a_run(llama: Path, data: Path, tmp_path: Path) -> None:
    weights = {}
    for kind in ("none", "selective", "full"):
        sections = {"peft": {"dim": 4, "dropout": 0.2}, "model": {"activation_checkpointing": kind}}
        run = train(tiny_config(llama, data, tmp_path / kind, **SHORT | sections)).directory
        file = run / "checkpoints/LATEST/model/adapter/adapter_model.safetensors"
        weights[kind] = file.read_bytes()
    assert weights["none"] == weights["selective"] == weights["full"]


def test_quantization_that_cannot_be_is_refused_before_training(
    llama: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitsandbytes.supported_torch_devices", {"cuda"})
    sections = {"peft": {"dim": 4, "quantization": "nf4"}}
    with pytest.raises(UserError, match=r"no kernels for 'cpu'(?s:.*)plain LoRA"):
        train(tiny_config(llama, data, tmp_path / "run", **SHORT | sections))
