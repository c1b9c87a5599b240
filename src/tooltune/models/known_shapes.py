"""The shapes of well-known open models, for planning without a network.

The numbers are those of each model's `config.json` on huggingface.co, under the same keys; the
formula below is that of transformers' modelling code, and a test holds it to models that
transformers builds, and the totals to those that the publishers name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tooltune.models.shapes import TABLE, Linear, ModelShape

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """What the formula must know of a `model_type` beside the numbers of its configuration.

    query_bias, output_bias: of q, k and v, and of o. head_norms: q and k are normalised.
    norms: per layer, as wide as the model. sinks: a learned weight per head.
    biased_experts: experts and router have biases.
    """

    query_bias: bool = False
    output_bias: bool = False
    head_norms: bool = False
    norms: int = 2
    sinks: bool = False
    biased_experts: bool = False


FAMILIES = {
    "llama": Family(),
    "mistral": Family(),
    "smollm3": Family(),
    "qwen2": Family(query_bias=True),
    "qwen3": Family(head_norms=True),
    "qwen3_moe": Family(head_norms=True),
    "gemma3_text": Family(head_norms=True, norms=4),
    "gpt_oss": Family(query_bias=True, output_bias=True, sinks=True, biased_experts=True),
}


def _facts(
    model_type: str, sizes: tuple[int, int, int, int, int], vocab: int, **more: Any
) -> dict[str, Any]:
    """`sizes`: hidden_size, intermediate_size, layers, query heads, key and value heads."""
    hidden, intermediate, layers, heads, kv_heads = sizes
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": hidden // heads,
        "vocab_size": vocab,
        "tie_word_embeddings": False,
        **more,
    }


def _qwen3(*sizes: int, tied: bool = False) -> dict[str, Any]:
    hidden, intermediate, layers, heads, kv_heads = sizes
    shape = (hidden, intermediate, layers, heads, kv_heads)
    return _facts("qwen3", shape, 151936, head_dim=128, tie_word_embeddings=tied)


def _gemma3(*sizes: int, head_dim: int, vocab: int = 262208) -> dict[str, Any]:
    hidden, intermediate, layers, heads, kv_heads = sizes
    shape = (hidden, intermediate, layers, heads, kv_heads)
    return _facts("gemma3_text", shape, vocab, head_dim=head_dim, tie_word_embeddings=True)


_TIED = {"tie_word_embeddings": True}
_LLAMA_8B = _facts("llama", (4096, 14336, 32, 32, 8), 128256)
_LLAMA_70B = _facts("llama", (8192, 28672, 80, 64, 8), 128256)
_MOE = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}

KNOWN: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": _facts("llama", (576, 1536, 30, 9, 3), 49152, **_TIED),
    "SmolLM2-360M": _facts("llama", (960, 2560, 32, 15, 5), 49152, **_TIED),
    "SmolLM2-1.7B": _facts("llama", (2048, 8192, 24, 32, 32), 49152, **_TIED),
    "SmolLM3-3B": _facts("smollm3", (2048, 11008, 36, 16, 4), 128256, **_TIED),
    "Qwen2.5-0.5B": _facts("qwen2", (896, 4864, 24, 14, 2), 151936, **_TIED),
    "Qwen2.5-1.5B": _facts("qwen2", (1536, 8960, 28, 12, 2), 151936, **_TIED),
    "Qwen2.5-3B": _facts("qwen2", (2048, 11008, 36, 16, 2), 151936, **_TIED),
    "Qwen2.5-7B": _facts("qwen2", (3584, 18944, 28, 28, 4), 152064),
    "Qwen2.5-14B": _facts("qwen2", (5120, 13824, 48, 40, 8), 152064),
    "Qwen2.5-32B": _facts("qwen2", (5120, 27648, 64, 40, 8), 152064),
    "Qwen2.5-72B": _facts("qwen2", (8192, 29568, 80, 64, 8), 152064),
    "Qwen3-0.6B": _qwen3(1024, 3072, 28, 16, 8, tied=True),
    "Qwen3-1.7B": _qwen3(2048, 6144, 28, 16, 8, tied=True),
    "Qwen3-4B": _qwen3(2560, 9728, 36, 32, 8, tied=True),
    "Qwen3-8B": _qwen3(4096, 12288, 36, 32, 8),
    "Qwen3-14B": _qwen3(5120, 17408, 40, 40, 8),
    "Qwen3-32B": _qwen3(5120, 25600, 64, 64, 8),
    "Qwen3-30B-A3B": _facts("qwen3_moe", (2048, 6144, 48, 32, 4), 151936, head_dim=128, **_MOE),
    "Llama-3.2-1B": _facts("llama", (2048, 8192, 16, 32, 8), 128256, **_TIED),
    "Llama-3.2-3B": _facts("llama", (3072, 8192, 28, 24, 8), 128256, **_TIED),
    "Llama-3-8B": _LLAMA_8B,
    "Llama-3.1-8B": _LLAMA_8B,
    "Llama-3-70B": _LLAMA_70B,
    "Llama-3.1-70B": _LLAMA_70B,
    "Llama-3.3-70B": _LLAMA_70B,
    "Mistral-7B": _facts("mistral", (4096, 14336, 32, 32, 8), 32768),
    "Mistral-Nemo": _facts("mistral", (5120, 14336, 40, 32, 8), 131072, head_dim=128),
    "Mistral-Small-24B": _facts("mistral", (5120, 32768, 40, 32, 8), 131072, head_dim=128),
    "gemma-3-1b": _gemma3(1152, 6912, 26, 4, 1, head_dim=256, vocab=262144),
    "gemma-3-4b": _gemma3(2560, 10240, 34, 8, 4, head_dim=256),
    "gemma-3-12b": _gemma3(3840, 15360, 48, 16, 8, head_dim=256),
    "gemma-3-27b": _gemma3(5376, 21504, 62, 32, 16, head_dim=128),
    "gpt-oss-20b": _facts(
        "gpt_oss",
        (2880, 2880, 24, 64, 8),
        201088,
        head_dim=64,
        num_local_experts=32,
        num_experts_per_tok=4,
    ),
}

# Beside the text model: the vision tower (SigLIP, 417M: Gemma 3 technical report, table 1) and its
# projector, as the hub counts the files' parameters.
_VISION = {"gemma-3-4b": 419_816_304, "gemma-3-12b": 421_290_864, "gemma-3-27b": 423_060_336}
_BUILTIN = {"builtin:smollm2-135m-instruct": "SmolLM2-135M"}
_VARIANT = re.compile(
    r"(-(instruct|base|it|pt|chat|hf|thinking|coder|v\d\.\d|\d{4}))+$", re.IGNORECASE
)


def known_shape(name: str) -> ModelShape | None:
    """The shape of `name`, a hub id, whoever owns it and however it was tuned; None if unknown."""
    wanted = _BUILTIN.get(name, name.rpartition("/")[2])
    wanted = wanted.lower().replace("meta-llama", "llama").replace("qwen2.5-coder", "qwen2.5")
    for key, facts in KNOWN.items():
        if wanted == key.lower() or _VARIANT.sub("", wanted) == key.lower():
            shape = shape_of_facts(name, facts)
            return replace(shape, parameters=shape.parameters + _VISION.get(key, 0))
    return None


def shape_of_facts(name: str, facts: Facts) -> ModelShape:
    """The shape by formula; `facts` are keys of a configuration of one of `FAMILIES`."""
    family = FAMILIES[facts["model_type"]]
    hidden, layers = int(facts["hidden_size"]), int(facts["num_hidden_layers"])
    heads, kv_heads = int(facts["num_attention_heads"]), int(facts["num_key_value_heads"])
    head_dim = int(facts["head_dim"])
    query, kv = heads * head_dim, kv_heads * head_dim
    experts = int(facts.get("num_local_experts") or facts.get("num_experts") or 0)
    active_experts = int(facts["num_experts_per_tok"]) if experts else 0
    width = int(facts["intermediate_size"])
    if experts:
        width = int(facts.get("moe_intermediate_size") or width)

    linears = [
        Linear("self_attn.q_proj", hidden, query),
        Linear("self_attn.k_proj", hidden, kv),
        Linear("self_attn.v_proj", hidden, kv),
        Linear("self_attn.o_proj", query, hidden),
    ]
    if not experts:
        linears += [
            Linear("mlp.gate_proj", hidden, width),
            Linear("mlp.up_proj", hidden, width),
            Linear("mlp.down_proj", width, hidden),
        ]
    others = family.norms * hidden
    others += 2 * head_dim * family.head_norms + heads * family.sinks
    others += (query + 2 * kv) * family.query_bias + hidden * family.output_bias
    others += experts * hidden + experts * family.biased_experts  # the router
    expert = 3 * hidden * width + (2 * width + hidden) * family.biased_experts
    block = sum(linear.weights for linear in linears) + others + experts * expert

    vocab, tied = int(facts["vocab_size"]), bool(facts["tie_word_embeddings"])
    embeddings = vocab * hidden * (1 if tied else 2)
    total = layers * block + embeddings + hidden
    return ModelShape(
        name=name,
        source=TABLE,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=width * (active_experts or 1),
        norm_width=family.norms * hidden + (query + kv) * family.head_norms,
        vocab=vocab,
        tied=tied,
        experts=experts,
        active_experts=active_experts,
        parameters=total,
        active=total - layers * (experts - active_experts) * expert,
        embeddings=embeddings,
        block=block,
        largest_tensor=max(
            vocab * hidden, 2 * experts * hidden * width, *(linear.weights for linear in linears)
        ),
        linears=tuple(
            replace(linear, name=f"model.layers.{layer}.{linear.name}")
            for layer in range(layers)
            for linear in linears
        ),
    )
