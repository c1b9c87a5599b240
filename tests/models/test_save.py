from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from transformers import AutoTokenizer

from tests.models.tiny import tiny_model
from tooltune.models.load import load_model, load_tokenizer
from tooltune.models.merge import merge_lora
from tooltune.models.render_record import read_render_record
from tooltune.models.save import save_adapter, save_consolidated
from tooltune.render.spec import RenderSpec

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])


def _lora(model: Any, **options: Any) -> Any:
    """An adapter whose B matrices are not zero, so that it changes the model."""
    torch.manual_seed(1)
    options = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | options
    options |= {"task_type": "CAUSAL_LM"}
    return get_peft_model(model, LoraConfig(**options)).eval()


@pytest.mark.parametrize("tied", [False, True])
def test_a_full_model_comes_back_bit_for_bit(
    tied: bool, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    model = tiny_model("qwen3", tie_word_embeddings=tied)
    save_consolidated(model, builtin_tokenizer, tmp_path, stop_ids=[2])
    again = load_model(tmp_path)
    assert type(again) is type(model)
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(again(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize(
    "options", [{}, {"use_dora": True}, {"use_rslora": True, "lora_alpha": 3}, {"bias": "all"}]
)
def test_merged_lora_equals_the_adapter_and_training_goes_on_untouched(
    options: dict[str, Any], tmp_path: Path, builtin_tokenizer: Any
) -> None:
    model = _lora(tiny_model("qwen2"), **options)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model(IDS).logits
    save_consolidated(model, builtin_tokenizer, tmp_path, stop_ids=[2])
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    torch.testing.assert_close(load_model(tmp_path)(IDS).logits, expected)
    with model.disable_adapter():
        assert not torch.allclose(model(IDS).logits, expected, atol=1e-2), "the adapter did nothing"


def test_modules_that_were_trained_whole_are_saved_as_trained(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    model = _lora(
        tiny_model("llama", tie_word_embeddings=True),
        target_modules=["q_proj"],
        modules_to_save=["lm_head"],
    )
    with torch.no_grad():
        model.get_base_model().lm_head.weight.add_(0.1)
    save_consolidated(model, builtin_tokenizer, tmp_path, stop_ids=[2])
    torch.testing.assert_close(load_model(tmp_path)(IDS).logits, model(IDS).logits)


def test_a_bf16_base_is_merged_in_fp32_and_rounded_once() -> None:
    model = _lora(tiny_model("llama").to(torch.bfloat16))
    name = "model.layers.0.mlp.up_proj"
    layer = model.get_base_model().get_submodule(name)
    assert layer.get_base_layer().weight.dtype == torch.bfloat16
    with torch.no_grad():
        exact = layer.get_base_layer().weight.float() + layer.get_delta_weight("default").float()
    assert torch.equal(merge_lora(model)[f"{name}.weight"], exact.bfloat16())
    assert torch.equal(merge_lora(model, dtype=torch.float32)[f"{name}.weight"], exact)


def test_the_stop_tokens_and_template_travel_with_the_weights(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    model = tiny_model("llama")
    model.generation_config.repetition_penalty = 1.3
    template = "{{ messages[0].content }}"
    save_consolidated(
        model,
        builtin_tokenizer,
        tmp_path,
        stop_ids=[5, 2],
        render=RenderSpec(chat_template=template, date="2026-01-31"),
        dtype=torch.bfloat16,
    )
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [2, 5]
    assert generation["pad_token_id"] == 0
    assert "repetition_penalty" not in generation
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.eos_token_id == 5
    assert tokenizer.chat_template == template
    assert read_render_record(tmp_path) == RenderSpec(date="2026-01-31")
    assert builtin_tokenizer.eos_token_id == 2, "the caller's tokenizer must stay as it was"
    assert model.generation_config.repetition_penalty == 1.3


def test_a_saved_tokenizer_encodes_as_before_and_is_known_to_transformers_4(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    save_consolidated(tiny_model("llama"), builtin_tokenizer, tmp_path, stop_ids=[2])
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    rope = json.loads((tmp_path / "config.json").read_text())
    assert rope["rope_theta"] == rope["rope_parameters"]["rope_theta"]
    text = "<|im_start|>user\nZürich  2024\n\n7<|im_end|>\n  x"
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(text).input_ids == builtin_tokenizer(text).input_ids
    assert again.decode(again(text).input_ids) == text


def test_a_directory_with_files_in_it_is_not_written_over(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileExistsError):
        save_consolidated(tiny_model("llama"), builtin_tokenizer, tmp_path, stop_ids=[2])


def test_peft_itself_loads_the_adapter(tmp_path: Path, builtin_tokenizer: Any) -> None:
    save_consolidated(tiny_model("llama"), builtin_tokenizer, tmp_path / "base", stop_ids=[2])
    model = _lora(load_model(tmp_path / "base"))
    save_adapter(model, tmp_path / "adapter")
    again = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert torch.equal(again(IDS).logits, model(IDS).logits)


@pytest.mark.slow
def test_a_python_without_tooltune_loads_generates_and_stops(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    model = _lora(load_model("builtin:smollm2-135m-instruct"), init_lora_weights=True)
    save_consolidated(model, builtin_tokenizer, tmp_path / "model", stop_ids=[2])
    program = f"""
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
path = {str(tmp_path / "model")!r}
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
messages = [{{"role": "user", "content": "What is the capital of France?"}}]
text = tokenizer.apply_chat_template(messages, tools=[], add_generation_prompt=True, tokenize=False)
ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
out = model.generate(**ids, max_new_tokens=40)[0]
assert out[-1] == tokenizer.eos_token_id, out
assert "tooltune" not in sys.modules
print(tokenizer.decode(out[ids.input_ids.shape[1]:], skip_special_tokens=True))
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
