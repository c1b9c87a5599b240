from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from tests.models.families import family_model
from tooltune.models.load import load_model
from tooltune.models.merge import merge_lora
from tooltune.models.save import save_adapter, save_consolidated
from tooltune.train.lora import add_lora

IDS = torch.tensor([[3, 4, 5, 6, 7, 8, 9]])
VARIANTS: list[dict[str, Any]] = [
    {},
    {"use_dora": True},
    {"use_rslora": True, "lora_alpha": 3},
    {"bias": "all"},
    {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
]


def adapted(model: Any, **options: Any) -> PeftModel:
    """An adapter whose every tensor is random, so that it changes the model."""
    torch.manual_seed(1)
    options = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | options
    made = get_peft_model(model, LoraConfig(**options)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
    return made


def emptied(model: Any) -> Any:
    """The same model without a single value in it: all that a rank of a sharded run may lack."""
    shell = copy.deepcopy(model).to("meta")
    assert all(tensor.is_meta for tensor in shell.state_dict().values())
    return shell


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("tied", [False, True])
def test_a_state_dict_alone_is_merged_as_the_model_itself(
    options: dict[str, Any], tied: bool
) -> None:
    model = adapted(family_model("qwen2", tie_word_embeddings=tied), **options)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in state.items()}
    expected = merge_lora(model)
    merged = merge_lora(emptied(model), state=state)
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], tensor) for name, tensor in expected.items())
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items()), "written to"


def test_a_state_dict_may_hold_a_tied_weight_once() -> None:
    model = adapted(family_model("llama", tie_word_embeddings=True))
    for left_out in ("lm_head.weight", "model.embed_tokens.weight"):
        state = dict(model.state_dict())
        del state[f"base_model.model.{left_out}"]
        merged = merge_lora(emptied(model), state=state)
        assert torch.equal(merged["lm_head.weight"], merged["model.embed_tokens.weight"])
        assert merged.keys() == merge_lora(model).keys()


def test_a_state_dict_that_lacks_a_tensor_is_refused_by_its_name() -> None:
    model = adapted(family_model("llama"))
    state = dict(model.state_dict())
    del state["base_model.model.model.layers.1.mlp.up_proj.lora_B.default.weight"]
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj\.lora_B"):
        merge_lora(emptied(model), state=state)


@pytest.mark.parametrize("lora", [False, True])
def test_directories_written_from_a_state_dict_are_those_of_the_model(
    lora: bool, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    model = family_model("qwen3", tie_word_embeddings=True)
    model = adapted(model) if lora else model
    for name, of, state in (("a", model, None), ("b", emptied(model), model.state_dict())):
        save_consolidated(of, builtin_tokenizer, tmp_path / name, stop_ids=[2], state=state)
        if lora:
            save_adapter(of, tmp_path / name / "adapter", state=state)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) >= 6 + 2 * lora
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


@pytest.mark.parametrize("family", ["qwen2", "qwen3_moe", "gpt2"])
@pytest.mark.parametrize("dora", [False, True])
def test_peft_without_tooltune_gives_the_merged_models_logits(
    family: str, dora: bool, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    save_consolidated(family_model(family), builtin_tokenizer, tmp_path / "base", stop_ids=[2])
    model = add_lora(load_model(tmp_path / "base"), dim=4, alpha=8, use_dora=dora)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
            elif "magnitude" in name:
                parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
    save_adapter(model, tmp_path / "adapter")
    save_consolidated(model, builtin_tokenizer, tmp_path / "merged", stop_ids=[2])
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["use_dora"] is dora
    assert config["inference_mode"] is True
    done = run_without_tooltune(f"""
import json, sys, torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM
base, adapter, merged = ({str(tmp_path)!r} + "/" + name for name in ("base", "adapter", "merged"))
ids = torch.tensor({IDS.tolist()})
load = AutoModelForCausalLM.from_pretrained
plain = load(base).eval()(ids).logits
expected = load(merged).eval()(ids).logits
for model in (PeftModel.from_pretrained(load(base), adapter),
              AutoPeftModelForCausalLM.from_pretrained(adapter)):
    logits = model.eval()(ids).logits
    print(float((logits - expected).abs().max()), float((plain - expected).abs().max()))
assert not [name for name in sys.modules if name.startswith("tooltune.")]
""")
    for line in done.splitlines():
        difference, effect = map(float, line.split())
        assert difference < 1e-4
        assert effect > 0.1, "the adapter did nothing"
    assert len(done.splitlines()) == 2


def run_without_tooltune(program: str) -> str:
    """What `program` prints in a Python in which importing tooltune is an error."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.modules['tooltune'] = None\n{program}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_experts_are_saved_one_by_one_as_servers_read_them(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    """In memory the experts of a layer are one tensor, in published files each has its own."""
    for family, name in (
        ("qwen3_moe", "model.layers.0.mlp.experts.3.gate_proj.weight"),
        ("mixtral", "model.layers.0.block_sparse_moe.experts.3.w1.weight"),
    ):
        model = add_lora(family_model(family), dim=4, alpha=8)
        save_consolidated(model, builtin_tokenizer, tmp_path / family, stop_ids=[2])
        assert name in load_file(tmp_path / family / "model.safetensors")
        again = load_model(tmp_path / family)
        torch.testing.assert_close(again(IDS).logits, model(IDS).logits, rtol=1e-5, atol=1e-5)


def test_the_adapter_file_holds_the_adapter_alone_under_names_that_servers_read(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    """vLLM reads `….lora_A.weight` and `….lora_B.weight` and refuses any other name."""
    save_consolidated(family_model("llama"), builtin_tokenizer, tmp_path / "base", stop_ids=[2])
    model = add_lora(load_model(tmp_path / "base"), dim=8, alpha=8)
    save_adapter(model, tmp_path / "adapter", base="owner/name")
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 7 * 3
    for name in tensors:
        path, kind, leaf = name.rsplit(".", 2)
        assert path.startswith("base_model.model.model.layers.")
        assert (kind, leaf) in {("lora_A", "weight"), ("lora_B", "weight")}
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/name"
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "CAUSAL_LM"
    assert config["bias"] == "none"
    assert not config["modules_to_save"]
    assert set(config["target_modules"]) == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    assert sorted(p.name for p in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_saving_an_adapter_asks_nobody_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = add_lora(family_model("llama"), dim=8, alpha=8)
    model.get_base_model().name_or_path = "some-owner/some-model"
    before = copy.deepcopy(model.peft_config["default"].to_dict())

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("huggingface_hub.file_exists", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    save_adapter(model, tmp_path)
    assert model.peft_config["default"].to_dict() == before
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some-owner/some-model"
