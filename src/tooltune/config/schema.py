"""The typed form of a run's YAML file: one class per section, frozen, unknown keys refused.

`load_config` is the door: it merges file and overrides, fills the defaults that depend on other
keys (`defaults.py`), and checks what a single field cannot (`checks.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tooltune.config.fields import (
    Betas,
    Count,
    DataPath,
    Flag,
    Fraction,
    Modules,
    NonNegative,
    NonNegativeInt,
    Positive,
    Probability,
    Seed,
    SetName,
    Text,
)


class Section(BaseModel):
    """What all sections share: no unknown keys, no changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Model(Section):
    """`model: NAME` is short for `model: {pretrained_model_name_or_path: NAME}`."""

    pretrained_model_name_or_path: Text  # hub id, local directory, or builtin:NAME
    attn_implementation: Literal["sdpa", "eager"] = "sdpa"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of the computation; masters stay fp32
    chat_template: Text | None = None  # Jinja text or a path; overrides the tokenizer's own
    chat_template_kwargs: dict[str, Any] = {}  # passed to every render, e.g. enable_thinking
    activation_checkpointing: Flag = False


class Source(Section):
    """Where traces come from: one of `path` and `dataset_name`."""

    path: DataPath | None = None  # a file, or a list of files
    dataset_name: Text | None = None  # a hub id
    split: Text = "train"  # slices allowed: "train[:100]", "train[10%:]"
    revision: Text | None = None  # of the hub data set
    format: Text | None = None  # recognised from the rows when null
    limit_dataset_samples: Count | None = None  # the first so many rows


class Dataset(Source):
    """The traces to train on, and which of their tokens carry loss."""

    train_on_last_turn_only: Flag = False
    mask_reasoning_content: Flag = False  # reasoning is shown but carries no loss
    drop_history_reasoning_content: Flag = False
    shuffle: Flag = True


class ValidationDataset(Source):
    """A source of its own, or the `fraction` of `dataset` held out (whole groups at a time)."""

    fraction: Fraction | None = None


class ToolCallEval(Source):
    """Tool-call accuracy during training; without a source of its own, on the validation traces."""

    enabled: Flag = True
    max_eval_samples: Count | None = 128  # turns that call tools; null: all of them
    include_abstain: Flag = True  # also turns that should not call, scored apart
    max_new_tokens: Count = 256
    max_prompt_tokens: Count | None = None
    every_steps: Count | None = None  # null: at each validation
    extra_datasets: dict[SetName, Source] = {}  # scored apart, as tool_call/NAME/...


class StepScheduler(Section):
    """How many traces make a step, how many steps make a run, and what happens when."""

    global_batch_size: Count = 8  # traces per optimizer step
    local_batch_size: Count | None = None  # traces per micro-batch; null: the packer decides
    num_epochs: Count = 1
    max_steps: Count | None = None  # ends the run before num_epochs does
    val_every_steps: Count | None = None  # null: at the end of each epoch
    ckpt_every_steps: Count | None = None  # null: at the end of each epoch


class Optimizer(Section):
    """AdamW. `lr` left out is 2e-4 with `peft`, 1e-5 without."""

    name: Literal["adamw"] = "adamw"
    lr: Positive
    betas: Betas = (0.9, 0.95)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    max_grad_norm: Positive = 1.0


class LrScheduler(Section):
    """Linear warm-up to `optimizer.lr`, then a decay to `min_lr` at the last step."""

    lr_decay_style: Literal["cosine", "constant", "linear"] = "cosine"
    lr_warmup_steps: NonNegativeInt | None = None  # null: 3 % of the steps
    min_lr: NonNegative = 0.0


class Peft(Section):
    """LoRA. `alpha` left out equals `dim`; the adapters are scaled by alpha / dim."""

    dim: Count = 16
    alpha: Count
    dropout: Probability = 0.0
    target_modules: Modules = "all-linear"  # or a list of module names such as q_proj


class Distributed(Section):
    strategy: Literal["none"] = "none"


class Checkpoint(Section):
    enabled: Flag = True
    keep_last: Count = 2  # beside the best ones and the latest, which always stay
    save_consolidated: Literal["best_and_latest", "all"] = "best_and_latest"


class Log(Section):
    every_steps: Count = 1


class Config(Section):
    """One run. Made by `load_config`; every field is valid and every derived default is filled."""

    model: Model
    dataset: Dataset
    validation_dataset: ValidationDataset | None  # None: no validation
    tool_call_eval: ToolCallEval = ToolCallEval()
    step_scheduler: StepScheduler = StepScheduler()
    optimizer: Optimizer
    lr_scheduler: LrScheduler = LrScheduler()
    peft: Peft | None = None  # None: full fine-tuning
    distributed: Distributed = Distributed()
    checkpoint: Checkpoint = Checkpoint()
    log: Log = Log()
    seed: Seed = 0
    output_dir: Text

    def resolved(self) -> dict[str, Any]:
        """All keys with their values as plain dicts, lists and scalars, in the schema's order."""
        return self.model_dump(mode="json")
