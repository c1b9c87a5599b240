"""The model being trained, its masters and optimizer: built once, saved and restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from tooltune.config.schema import Config
from tooltune.models.forest_forward import Model, flat_logits, forest_logits, supports_forest
from tooltune.models.load import check_vocabulary, load_model
from tooltune.models.quantize import check_quantization
from tooltune.models.save import save_adapter, save_consolidated
from tooltune.render.spec import RenderSpec
from tooltune.train.activation import apply_activation_checkpointing
from tooltune.train.batches import MicroBatch
from tooltune.train.checkpoints.state import load_training_tensors, save_training_tensors
from tooltune.train.compile import compile_blocks
from tooltune.train.lora import add_lora
from tooltune.train.loss import weighted_nll
from tooltune.train.optim import embedding_names, make_optimizer
from tooltune.train.parallel.load import Wrap, load_sharded, whole_copy
from tooltune.train.parallel.mesh import check_mesh, is_sharded
from tooltune.train.parallel.replicate import sum_gradients
from tooltune.train.parallel.shard import full_state
from tooltune.train.parallel.world import World
from tooltune.train.precision import MasterWeights

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class Trainee:
    """`flat_reason` is None where batches run as forests, else why they run as flat sequences.

    `is_sharded`: every rank holds a part of each weight (FSDP2); with several ranks and whole
    weights each rank holds the same ones (DDP). `wrap` is what was done to the plain model.
    """

    model: Model
    masters: MasterWeights
    optimizer: torch.optim.Optimizer
    world: World
    compute_dtype: torch.dtype
    flat_reason: str | None
    is_sharded: bool
    wrap: Wrap

    @property
    def device(self) -> torch.device:
        return self.world.device

    @property
    def is_lora(self) -> bool:
        return isinstance(self.model, PeftModel)

    @property
    def trainable_parameters(self) -> int:
        return sum(p.numel() for p in self.masters.parameters().values())

    @property
    def gradient_scale(self) -> int:
        """What a loss is multiplied by before `backward`: FSDP averages gradients over ranks."""
        return self.world.size if self.is_sharded else 1

    def gather_gradients(self) -> None:
        """Add gradients over ranks, where backward passes have not done it already."""
        if self.world.size > 1 and not self.is_sharded:
            sum_gradients(self.masters.parameters())

    def release(self) -> None:
        """Give up all memory; nothing but `world` can be used afterwards."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        if not self.is_sharded:  # shards are small, and not to be taken from under FSDP
            for tensor in (*self.masters.parameters().values(), *self.model.parameters()):
                tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def nll(self, batch: MicroBatch) -> torch.Tensor:
        """Σ weight·nll over the targets of a micro-batch, an fp32 scalar."""
        forest = batch.forest
        forward = forest_logits if self.flat_reason is None else flat_logits
        logits, rows = forward(self.model, forest)
        return weighted_nll(
            logits,
            torch.from_numpy(forest.target_id).to(logits.device),
            torch.from_numpy(forest.target_weight).to(logits.device),
            rows=rows,
        )

    def save_training_state(self, directory: Path) -> None:
        """Masters and optimizer, bit for bit, into `directory`."""
        save_training_tensors(self.masters.parameters(), self.optimizer, directory, self.world)

    def load_training_state(self, directory: Path) -> None:
        """The inverse of `save_training_state`. Raises UserError for another model's state."""
        load_training_tensors(self.masters.parameters(), self.optimizer, directory, self.world)
        self.masters.write_back()

    def save_model(
        self,
        directory: Path,
        tokenizer: Any,
        *,
        stop_ids: tuple[int, ...],
        render: RenderSpec,
        consolidated: bool,
    ) -> None:
        """Write `consolidated/` (LoRA: merged) and, for LoRA, `adapter/` under `directory`.

        Every rank must call; rank 0 writes. A sharded model is gathered there on the CPU.
        """
        state = None
        if self.is_sharded:
            state = full_state(self.model, None if self.is_lora else self.compute_dtype)
        if not self.world.is_main:
            return
        with self.masters.in_model():
            if isinstance(self.model, PeftModel):
                save_adapter(self.model, directory / "adapter", state=state)
            if consolidated:
                save_consolidated(
                    self.model,
                    tokenizer,
                    directory / "consolidated",
                    stop_ids=stop_ids,
                    render=render,
                    dtype=self.compute_dtype,
                    state=state,
                )

    @contextmanager
    def evaluation_weights(self) -> Iterator[PreTrainedModel | PeftModel]:
        """The model in the dtype to generate in: on a CPU fp32, elsewhere as it computes.

        Frozen weights are widened for the while and put back as the very same tensors. On a CPU
        bf16 decodes slower than fp32, and its arg-max differs at 2 % of positions. A sharded
        model that computes in bf16 is copied there, whole and in fp32, on every rank.
        """
        if self.device.type != "cpu":
            yield self.model
            return
        if self.is_sharded:
            narrow_type = self.compute_dtype != torch.float32
            yield whole_copy(self.model, self.wrap, torch.float32) if narrow_type else self.model
            return
        narrow = [
            p
            for p in self.model.parameters()
            if not p.requires_grad and p.is_floating_point() and p.dtype != torch.float32
        ]
        originals = [p.data for p in narrow]
        with self.masters.in_model():
            for parameter in narrow:
                parameter.data = parameter.data.float()
            try:
                yield self.model
            finally:
                for parameter, original in zip(narrow, originals, strict=True):
                    parameter.data = original


def build_trainee(config: Config, tokenizer: Any, world: World | None = None) -> Trainee:
    """Load the model, add adapters, make masters and optimizer; shard it if there are ranks to.

    Raises: UserError for a model that cannot be loaded, a vocabulary that does not fit, LoRA
    targets that match nothing, or processes that the strategy has no place for.
    """
    world = world or World.alone()
    check_mesh(config.distributed, world)
    if config.peft and config.peft.quantization:
        check_quantization(
            config.peft.quantization,
            world.device,
            world_size=world.size,
            strategy=config.distributed.strategy,
        )
    sharded = is_sharded(config.distributed, world)
    compute_dtype = _DTYPES[config.model.dtype]
    # Full fine-tuning starts its fp32 masters from the unrounded weights of the checkpoint.
    held_dtype = compute_dtype if config.peft else torch.float32

    def load(device: torch.device) -> PreTrainedModel:
        model = load_model(
            config.model.pretrained_model_name_or_path,
            dtype=held_dtype,
            device=device,
            attn_implementation=config.model.attn_implementation,
            quantization=config.peft.quantization if config.peft else None,
            for_training=True,
        )
        check_vocabulary(model, tokenizer)
        return model

    wrap = _wrapper(config)
    if sharded:
        cpu = torch.device("cpu")
        model = load_sharded(lambda: load(cpu), wrap, config.distributed, world, compute_dtype)
    else:
        model = world.together(lambda: wrap(load(world.device)), "loading the model")
    flat_reason = supports_forest(model)
    no_decay = embedding_names(model)
    # Sharded parameters are fp32 already, and compute through gathered copies in another type.
    masters = MasterWeights(model, torch.float32 if sharded else compute_dtype)
    optimizer = make_optimizer(
        masters.parameters(),
        lr=config.optimizer.lr,
        betas=config.optimizer.betas,
        eps=config.optimizer.eps,
        weight_decay=config.optimizer.weight_decay,
        no_decay=no_decay,
    )
    model.train()
    return Trainee(model, masters, optimizer, world, compute_dtype, flat_reason, sharded, wrap)


def _wrapper(config: Config) -> Callable[[PreTrainedModel], Model]:
    def wrap(model: PreTrainedModel) -> Model:
        wrapped: Model = model
        if config.peft:
            wrapped = add_lora(
                model,
                dim=config.peft.dim,
                alpha=config.peft.alpha,
                dropout=config.peft.dropout,
                target_modules=config.peft.target_modules,
                use_dora=config.peft.use_dora,
                seed=config.seed,
            )
        apply_activation_checkpointing(wrapped, config.model.activation_checkpointing)
        if config.model.compile:
            compile_blocks(wrapped)
        return wrapped

    return wrap
