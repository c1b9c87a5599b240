"""QLoRA: the frozen weights in 4 or 8 bits, by bitsandbytes; and models that come quantized.

Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", NeurIPS 2023: the linear layers
of the blocks are stored as NF4, their scales quantized once more, and widened to the compute
dtype at each use; adapters train on top. `int8` is LLM.int8() (Dettmers et al., NeurIPS 2022).
Embeddings, norms and the head keep their type, and so do experts that are one fused tensor.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Mapping
from typing import Any

import torch
from transformers import BitsAndBytesConfig, FineGrainedFP8Config, Mxfp4Config, PreTrainedModel

from tooltune.errors import UserError

KINDS = ("nf4", "int8")
_KEY = "peft.quantization"
_NO_QUANTIZATION = f"or leave {_KEY} out: plain LoRA"


def check_quantization(
    kind: str, device: torch.device | str, *, world_size: int = 1, strategy: str = "none"
) -> None:
    """Raise UserError where weights cannot be quantized; to be called before anything is loaded.

    That is: an unknown `kind`, bitsandbytes absent or without kernels for `device`, and weights
    that FSDP2 would have to cut into shards (`strategy` "fsdp2" on more than one process).
    """
    if kind not in KINDS:
        raise UserError(f"{_KEY} is {kind!r}", fix=f"one of: {', '.join(KINDS)}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"{_KEY}: {kind} needs the package bitsandbytes, which is not installed",
            fix=f"pip install 'tooltune[qlora]', {_NO_QUANTIZATION}",
        )
    import bitsandbytes

    type_ = torch.device(device).type
    supported = sorted(bitsandbytes.supported_torch_devices)
    if type_ not in supported:
        version = importlib.metadata.version("bitsandbytes")
        raise UserError(
            f"{_KEY}: {kind}: bitsandbytes {version} has no kernels for {type_!r} "
            f"(only for {', '.join(supported)})",
            fix=f"run on one of these, {_NO_QUANTIZATION}",
        )
    if strategy == "fsdp2" and world_size > 1:
        raise UserError(
            f"{_KEY}: {kind} and distributed.strategy: fsdp2 on {world_size} processes: packed "
            "weights cannot be cut into shards",
            fix=f"distributed.strategy: ddp (each process holds the quantized model), "
            f"{_NO_QUANTIZATION}, sharded",
        )


def quantization_config(kind: str, compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """What transformers needs to load a model as `kind`, computing in `compute_dtype`."""
    if kind == "int8":
        # At each call of each layer it says that products are made of fp16: so they are, by design.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def widening_config(stored: Mapping[str, Any]) -> Any:
    """What makes transformers widen weights as it loads them, so that they can be trained.

    `stored` is the `quantization_config` of the model's `config.json`. Raises UserError for a
    way of quantizing that cannot be undone at loading.
    """
    method = stored.get("quant_method")
    widened: dict[Any, Any] = {
        "mxfp4": Mxfp4Config,
        "fp8": FineGrainedFP8Config,
    }  # gpt-oss, DeepSeek
    if method not in widened:
        raise UserError(
            f"the model's weights are stored quantized ({method}), and so cannot be trained or "
            "merged with an adapter",
            fix=f"use the model that they were made from; with {_KEY}: nf4 where memory is short",
        )
    return widened[method](dequantize=True)


def keep_differentiable(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from packing 4-bit weights anew at the first generation on a CPU.

    Its faster format for AVX-512 has no backward pass, and is never undone by training: gradients
    through such a layer would be missing, silently, after the first evaluation.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def is_quantized(model: PreTrainedModel) -> bool:
    """Whether `model` was loaded with some of its weights quantized."""
    quantizer: Any = getattr(model, "hf_quantizer", None)
    return quantizer is not None
