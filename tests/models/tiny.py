"""Tiny random models and forests for the tests of this folder and of the loss."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from tooltune.render.forest import TokenForest, merge_paths

VOCABULARY = 61
FAMILIES = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}

Path = tuple[list[int], list[int], list[float]]


def tiny_model(family: str, **overrides: Any) -> Any:
    """Two layers, hidden size 32, 4 query heads on 2 key heads; weights large enough to matter.

    With transformers' default scale every attention weight is about equal and every logit about
    0, and a wrong mask would hardly show.
    """
    torch.manual_seed(0)
    config = FAMILIES[family](
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        initializer_range=0.25,
        pad_token_id=None,
        **overrides,
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@st.composite
def path_lists(draw: st.DrawFn) -> list[Path]:
    """1 to 5 (prompt, completion, weights) paths that share, fork, end inside others and repeat."""
    few = st.integers(0, 3)  # few token values: paths often share by chance
    stem = draw(st.lists(few, min_size=1, max_size=12))
    weight = st.sampled_from([0.0, 0.5, 1.0, 2.0])
    paths = []
    for _ in range(draw(st.integers(1, 5))):
        prompt = stem[: draw(st.integers(1, len(stem)))] + draw(st.lists(few, max_size=4))
        completion = draw(st.lists(few, min_size=1, max_size=5))
        weights = [draw(weight) for _ in completion[1:]]
        paths.append((prompt, completion, [1.0, *weights]))
    return paths


def a_forest() -> tuple[TokenForest, list[Path]]:
    """Two roots, nested forks, a path inside another: one fixed forest with everything in it."""
    paths: list[Path] = [
        ([1, 2, 3, 4, 5], [6, 7], [1.0, 1.0]),
        ([1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11], [1.0, 0.5, 1.0]),
        ([1, 2, 3, 4, 5, 12], [13], [1.0]),
        ([1, 2, 3, 4, 5, 12], [14, 15], [2.0, 1.0]),
        ([1, 2, 20, 21], [22, 23, 24, 25], [1.0, 1.0, 1.0, 1.0]),
        ([30, 31, 32], [33, 34], [1.0, 1.0]),
    ]
    return merge_paths(paths), paths
