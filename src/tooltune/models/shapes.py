"""How large a model is, told from its configuration: no weights are read.

Where a `config.json` is at hand, the model is built without storage and counted, so that any
architecture that transformers knows is counted exactly. Without one, a table of well-known models
answers (`known_shapes.py`), which needs neither network nor torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooltune.errors import UserError

TABLE = "built-in table"
# A model of no width, of "many" layers.
_IMPOSSIBLE = (ArithmeticError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer of the body, by its full name: what LoRA adapts and QLoRA quantises."""

    name: str
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        """Its bias, if any, is not among them."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Widths in elements, sizes in parameters; a tied weight counts once.

    heads, kv_heads, head_dim: of queries, of keys and values; each head's width.
    intermediate: width of the MLP that one token passes, of all its active experts together.
    norm_width: elements that the norms of one layer normalise for each token.
    active: parameters that compute one token (all but the experts it does not visit).
    embeddings: the input table, and the output head unless it is tied to it.
    block, largest_tensor: of the largest decoder block, and of the largest single weight.
    linears: of the body; experts stacked in one tensor are not among them, nor is the head.
    source: where all this is from, for people.
    """

    name: str
    source: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    norm_width: int
    vocab: int
    tied: bool
    experts: int
    active_experts: int
    parameters: int
    active: int
    embeddings: int
    block: int
    largest_tensor: int
    linears: tuple[Linear, ...]

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim


def shape_of(name: str | Path, *, offline: bool = False) -> ModelShape:
    """The shape of the model that `model.pretrained_model_name_or_path` names.

    Looked for in turn: `config.json` in a local directory or in the local cache of the hub, the
    table (for a built-in model at once), and, unless `offline`, `config.json` on the hub. Raises
    UserError where none of them knows it.
    """
    from tooltune.models.known_shapes import known_shape

    text = str(name)
    if text.startswith("builtin:"):
        shape = known_shape(text)
        if shape is None:
            raise UserError(
                f"unknown built-in model {text!r}", fix="use builtin:smollm2-135m-instruct"
            )
        return shape
    if Path(text).expanduser().exists():
        return _counted(text, text, f"config.json in {text}", local=True)
    cached = _cached_config(text)
    if cached is not None:
        return _counted(text, cached.parent, f"config.json of {text}, as downloaded", local=True)
    shape = known_shape(text)
    if shape is None and offline:
        raise _unknown(text)
    return shape or _counted(text, text, f"config.json of {text} on the hub", local=False)


def _cached_config(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _unknown(name: str) -> UserError:
    from tooltune.models.known_shapes import KNOWN

    return UserError(
        f"the shape of {name} is not known without its config.json, which is not on this machine",
        fix="leave --offline-shapes out to fetch it, or give as model a folder with its "
        f"config.json, or one of: {', '.join(KNOWN)}",
    )


def _counted(name: str, place: str | Path, source: str, *, local: bool) -> ModelShape:
    """Count the model of the configuration at `place`, a directory or a hub id."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    from tooltune.models.load import reason, resolve_model
    from tooltune.models.quiet import quiet_transformers

    directory = resolve_model(place)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(
                directory, local_files_only=local, trust_remote_code=False
            )
            return count_shape(name, source, config)
    except UserError:
        raise
    except (OSError, KeyError, ImportError, StrictDataclassError, *_IMPOSSIBLE) as error:
        raise UserError(
            f"cannot read the configuration of {name}: {reason(error)}",
            fix="check the hub id and the network, or give a folder with a config.json of a causal "
            "language model that transformers supports",
        ) from error


def count_shape(name: str, source: str, config: Any) -> ModelShape:
    """The shape of the model that transformers builds from `config`, by counting its parameters.

    Raises UserError for a model without decoder blocks, ValueError for what is no causal model.
    """
    import torch
    from torch import nn
    from transformers import AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    from tooltune.models.blocks import decoder_blocks

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config(decoder=True)
    head = model.get_output_embeddings()
    table = model.get_input_embeddings()
    assert table is not None
    blocks = decoder_blocks(model)
    tied = head is None or head.weight is table.weight
    linears = tuple(
        Linear(path, *(module.weight.T if isinstance(module, nn.Linear) else module.weight).shape)
        for path, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    )
    total = sum(p.numel() for p in model.parameters())
    heads = int(text.num_attention_heads)
    kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    head_dim = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    experts, active_experts = _experts(text)
    stacked = sum(p.numel() for n, p in model.named_parameters() if ".experts." in n)
    idle = stacked * (experts - active_experts) // experts if experts else 0
    return ModelShape(
        name=name,
        source=source,
        layers=len(blocks),
        hidden=int(text.hidden_size),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=_intermediate(text, active_experts),
        norm_width=max(
            _norm_width(block, heads * head_dim, kv_heads * head_dim) for block in blocks
        ),
        vocab=int(table.weight.shape[0]),
        tied=tied,
        experts=experts,
        active_experts=active_experts,
        parameters=total,
        active=total - idle,
        embeddings=table.weight.numel() + (0 if tied else head.weight.numel()),
        block=max(sum(p.numel() for p in block.parameters()) for block in blocks),
        largest_tensor=max(p.numel() for p in model.parameters()),
        linears=linears,
    )


def _experts(text: Any) -> tuple[int, int]:
    """How many experts a layer has, and how many of them compute a token; (0, 0) without any."""
    for key in ("num_local_experts", "num_experts", "n_routed_experts"):
        count = getattr(text, key, None)
        if count:
            return int(count), int(getattr(text, "num_experts_per_tok", 1) or 1)
    return 0, 0


def _intermediate(text: Any, active_experts: int) -> int:
    given = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None)
    width = int(given or 4 * text.hidden_size)
    if not active_experts:
        return width
    own = int(getattr(text, "moe_intermediate_size", None) or width)
    alike = int(getattr(text, "n_shared_experts", None) or 0) * own
    shared = int(getattr(text, "shared_expert_intermediate_size", None) or alike)
    return active_experts * own + shared


def _norm_width(block: Any, query_width: int, kv_width: int) -> int:
    """Norms over heads have a weight as wide as one head, and run over all of them."""
    named = {"q_norm": query_width, "k_norm": kv_width}
    return sum(
        named.get(path.rpartition(".")[2], module.weight.numel())
        for path, module in block.named_modules()
        if type(module).__name__.endswith("Norm") and getattr(module, "weight", None) is not None
    )
