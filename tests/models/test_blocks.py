from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig

from tests.models.families import FAMILIES, family_model
from tooltune.errors import UserError
from tooltune.models.blocks import decoder_blocks
from tooltune.train.lora import add_lora


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_called_one_after_the_other_and_hold_all_but_embeddings_head_and_last_norm(
    family: str,
) -> None:
    model = family_model(family)
    blocks = decoder_blocks(model)
    called: list[int] = []
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, i=i: called.append(i))
    model(torch.arange(6)[None])
    assert called == [0, 1, 2]
    inside = {id(p) for block in blocks for p in block.parameters()}
    outside = {name for name, p in model.named_parameters() if id(p) not in inside}
    assert all(any(part in name for part in ("embed", "wte", "wpe", "norm", "ln_f", "lm_head"))
               for name in outside), outside  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gpt2"])
def test_an_adapter_around_the_model_changes_nothing(family: str) -> None:
    model = family_model(family)
    before = decoder_blocks(model)
    adapted = add_lora(model, dim=2, alpha=2)
    assert all(a is b for a, b in zip(decoder_blocks(adapted), before, strict=True))


def test_a_vision_tower_is_no_part_of_the_decoder() -> None:
    text = Gemma3TextConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    with torch.device("meta"):
        model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision))
    assert [type(block).__name__ for block in decoder_blocks(model)] == ["Gemma3DecoderLayer"] * 2


def test_a_model_without_blocks_is_a_user_error_that_names_the_keys_to_set() -> None:
    model = family_model("llama")
    model.model.layers = nn.ModuleList()
    with pytest.raises(UserError, match=r"LlamaForCausalLM is not built(?s:.*)strategy: ddp"):
        decoder_blocks(model)
