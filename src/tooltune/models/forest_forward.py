"""Logits of a token forest through the model's own forward, and the flat way for other models.

Both return the same form, so that the loss does not care which one ran:
`logits` [S, V] for the S distinct target sources, and `rows` int64 [T], the row of each target.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, PreTrainedModel

from tooltune.models import path_attention
from tooltune.models.blocks import base_model
from tooltune.models.path_attention import plan_segments
from tooltune.render.forest import Ints, TokenForest

Model: TypeAlias = PreTrainedModel | PeftModel
_ROPE_BY_LENGTH = ("dynamic", "longrope")
# Configuration keys of layers that carry a state along the row, or attend otherwise.
_NOT_PLAIN = (
    "attn_logit_softcapping",
    "attention_chunk_size",
    "alibi",
    "layers_block_type",
    "hybrid_override_pattern",
    "attn_layer_period",
    "mamba_d_state",
    "conv_L_cache",
    "linear_num_key_heads",
)


def supports_forest(model: Any) -> str | None:
    """None if `model` computes a forest exactly, else the reason why it needs flat sequences.

    A forest needs layers in which a token sees its root path and nothing else: plain full
    attention through transformers' interface, and position embeddings that do not depend on the
    length of the sequence.
    """
    if not isinstance(model, PreTrainedModel | PeftModel):
        return f"{type(model).__name__} is no transformers model"
    base = base_model(model)
    config = base.config.get_text_config(decoder=True)
    attention = config._attn_implementation
    if attention not in ("sdpa", path_attention.NAME):
        return f"its attention implementation is {attention}, not sdpa"
    if not (base._supports_attention_backend and base._can_set_attn_implementation()):
        return f"{type(base).__name__} does not call attention through transformers' interface"
    kinds = sorted(set(getattr(config, "layer_types", None) or ()) - {"full_attention"})
    if kinds:
        return f"it has {', '.join(kinds)} layers"
    if getattr(config, "sliding_window", None) is not None:
        return f"its attention slides over a window of {config.sliding_window} tokens"
    if not getattr(config, "is_causal", True):
        return "its attention is not causal"
    for key in _NOT_PLAIN:
        if getattr(config, key, None):
            return f"its configuration has {key}, so its layers are not plain full attention"
    for rope in _rope_types(config):
        if any(kind in rope for kind in _ROPE_BY_LENGTH):
            return f"its position embedding ({rope} RoPE) depends on the sequence length"
    return None


def forest_logits(
    model: Model, forest: TokenForest, *, past_key_values: Cache | None = None
) -> tuple[Tensor, Tensor]:
    """One forward over `forest`: (logits [S, V] in the model's type, rows int64 [T]).

    `supports_forest(model)` must be None. An empty `past_key_values` (`DynamicCache()`) is filled
    with the keys and values of all tokens in forest order. The model keeps the attention function
    `tooltune_path` afterwards; without a plan that is SDPA, so other calls do not notice.
    """
    base = base_model(model)
    if base.config._attn_implementation != path_attention.NAME:
        base.set_attn_implementation(path_attention.NAME)
    device = base.get_input_embeddings().weight.device
    sources, rows = _sources(forest)
    logits = model(
        input_ids=_tensor(forest.ids, device)[None],
        attention_mask=path_attention.no_mask(device),
        position_ids=_tensor(forest.depth, device)[None],
        past_key_values=past_key_values,
        use_cache=past_key_values is not None,
        logits_to_keep=_tensor(sources, device),
        path_plan=plan_segments(forest),
    ).logits
    return logits[0], _tensor(rows, device)


def flat_logits(model: Model, forest: TokenForest) -> tuple[Tensor, Tensor]:
    """The same as `forest_logits` by ordinary sequences, one per leaf, in one padded batch.

    A source that several sequences share is taken from the first: its hidden state, and so its
    loss and gradient, are the same in all.
    """
    device = base_model(model).get_input_embeddings().weight.device
    sources, rows = _sources(forest)
    chosen, sequence, position = _leaf_paths(forest, sources)
    if not chosen:
        raise ValueError("a forest without targets has no sequences to run")
    padded = pad_sequence([_tensor(forest.ids[path], device) for path in chosen], batch_first=True)
    kept, column = np.unique(position, return_inverse=True)
    logits = model(
        input_ids=padded,  # padded on the right, where no token looks: no mask is needed
        use_cache=False,
        logits_to_keep=_tensor(kept, device),
    ).logits
    if len(chosen) == 1:  # sources and positions ascend together: already in place
        return logits[0], _tensor(rows, device)
    return logits[_tensor(sequence, device), _tensor(column, device)], _tensor(rows, device)


def _sources(forest: TokenForest) -> tuple[Ints, Ints]:
    sources, rows = np.unique(forest.target_source, return_inverse=True)
    return sources, rows.reshape(-1).astype(np.int64)


def _leaf_paths(forest: TokenForest, sources: Ints) -> tuple[list[Ints], Ints, Ints]:
    """The root-to-leaf paths that hold sources, and for each source its path and place in it."""
    sequence = np.full(len(forest), -1, dtype=np.int64)
    position = np.zeros(len(forest), dtype=np.int64)
    wanted = np.zeros(len(forest), dtype=np.bool_)
    wanted[sources] = True
    chosen: list[Ints] = []
    for path in forest.paths:
        if forest.end[path[-1]] != path[-1] + 1:
            continue  # another path goes on where this one ends
        new = np.flatnonzero(wanted[path] & (sequence[path] < 0))
        if len(new):
            sequence[path[new]] = len(chosen)
            position[path[new]] = new
            chosen.append(path)
    return chosen, sequence[sources], position[sources]


def _tensor(array: Ints, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _rope_types(config: Any) -> list[str]:
    parameters = getattr(config, "rope_parameters", None) or {}
    entries = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return [str(entry.get("rope_type", "default")) for entry in entries]
