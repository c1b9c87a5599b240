"""The model being trained, its masters and optimizer: built once, saved and restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from tooltune.config.schema import Config
from tooltune.models.forest_forward import flat_logits, forest_logits, supports_forest
from tooltune.models.load import check_vocabulary, load_model
from tooltune.models.save import save_adapter, save_consolidated
from tooltune.render.spec import RenderSpec
from tooltune.train.batches import MicroBatch
from tooltune.train.lora import add_lora
from tooltune.train.loss import weighted_nll
from tooltune.train.optim import embedding_names, make_optimizer
from tooltune.train.precision import MasterWeights
from tooltune.train.state import load_optimizer, load_trainable, save_optimizer, save_trainable

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class Trainee:
    """`flat_reason` is None where batches run as forests, else why they run as flat sequences."""

    model: PreTrainedModel | PeftModel
    masters: MasterWeights
    optimizer: torch.optim.Optimizer
    device: torch.device
    compute_dtype: torch.dtype
    flat_reason: str | None

    @property
    def is_lora(self) -> bool:
        return isinstance(self.model, PeftModel)

    @property
    def trainable_parameters(self) -> int:
        return sum(p.numel() for p in self.masters.parameters().values())

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
        masters = self.masters.parameters()
        save_trainable(masters, directory)
        save_optimizer(self.optimizer, masters, directory)

    def load_training_state(self, directory: Path) -> None:
        """The inverse of `save_training_state`. Raises UserError for another model's state."""
        masters = self.masters.parameters()
        load_trainable(masters, directory)
        load_optimizer(self.optimizer, masters, directory)
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
        """Write `consolidated/` (LoRA: merged) and, for LoRA, `adapter/` under `directory`."""
        with self.masters.in_model():
            if isinstance(self.model, PeftModel):
                save_adapter(self.model, directory / "adapter")
            if consolidated:
                save_consolidated(
                    self.model,
                    tokenizer,
                    directory / "consolidated",
                    stop_ids=stop_ids,
                    render=render,
                    dtype=self.compute_dtype,
                )

    @contextmanager
    def evaluation_weights(self) -> Iterator[PreTrainedModel | PeftModel]:
        """The model in the dtype to generate in: on a CPU fp32, elsewhere as it computes.

        Frozen weights are widened for the while and put back as the very same tensors. On a CPU
        bf16 decodes slower than fp32, and its arg-max differs at 2 % of positions.
        """
        if self.device.type != "cpu":
            yield self.model
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


def build_trainee(config: Config, tokenizer: Any) -> Trainee:
    """Load the model, add adapters, make masters and optimizer.

    Raises: UserError for a model that cannot be loaded, a vocabulary that does not fit, or LoRA
    targets that match nothing.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compute_dtype = _DTYPES[config.model.dtype]
    # Full fine-tuning starts its fp32 masters from the unrounded weights of the checkpoint.
    model: PreTrainedModel | PeftModel = load_model(
        config.model.pretrained_model_name_or_path,
        dtype=compute_dtype if config.peft else torch.float32,
        device=device,
        attn_implementation=config.model.attn_implementation,
    )
    assert isinstance(model, PreTrainedModel)
    check_vocabulary(model, tokenizer)
    flat_reason = supports_forest(model)
    if config.model.activation_checkpointing != "none":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if config.peft:
        model = add_lora(
            model,
            dim=config.peft.dim,
            alpha=config.peft.alpha,
            dropout=config.peft.dropout,
            target_modules=config.peft.target_modules,
            seed=config.seed,
        )
    no_decay = embedding_names(model)
    masters = MasterWeights(model, compute_dtype)
    optimizer = make_optimizer(
        masters.parameters(),
        lr=config.optimizer.lr,
        betas=config.optimizer.betas,
        eps=config.optimizer.eps,
        weight_decay=config.optimizer.weight_decay,
        no_decay=no_decay,
    )
    model.train()
    return Trainee(model, masters, optimizer, device, compute_dtype, flat_reason)
