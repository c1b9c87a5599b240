"""Tiny random models of families that differ in how they are built, experts among them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

VOCABULARY = 61
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_CONFIGS: dict[str, Any] = {
    "llama": lambda **o: LlamaConfig(**_SHAPE | o),
    "qwen2": lambda **o: Qwen2Config(**_SHAPE | o),
    "qwen3": lambda **o: Qwen3Config(**_SHAPE | o),
    "qwen3_moe": lambda **o: Qwen3MoeConfig(
        **_SHAPE | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24} | o
    ),
    "mixtral": lambda **o: MixtralConfig(**_SHAPE | {"num_local_experts": 4} | o),
    "gpt_oss": lambda **o: GptOssConfig(
        **_SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2} | o
    ),
    "gemma3": lambda **o: Gemma3TextConfig(**_SHAPE | o),
    "gpt2": lambda **o: GPT2Config(
        **{"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}
        | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.2}
        | {"bos_token_id": 1, "eos_token_id": 2}
        | o
    ),
}
FAMILIES = tuple(_CONFIGS)
MIXTURES = ("qwen3_moe", "mixtral", "gpt_oss")


def family_model(family: str, **overrides: Any) -> Any:
    """Three layers of width 32 in fp32, in evaluation mode; random, from a fixed seed."""
    torch.manual_seed(0)
    config = _CONFIGS[family](**overrides)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
