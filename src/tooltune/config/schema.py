"""The typed form of a run's YAML file: one class per section, frozen, unknown keys refused.

`load_config` is the door: it merges file and overrides, fills the defaults that depend on other
keys (`defaults.py`), and checks what a single field cannot (`checks.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tooltune.config.fields import (
    Betas,
    Checkpointing,
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
    Where,
)
from tooltune.traces.source import TraceSource, trace_source


class Section(BaseModel):
    """What all sections share: no unknown keys, no changes after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Model(Section):
    """`model: NAME` is short for `model: {pretrained_model_name_or_path: NAME}`."""

    pretrained_model_name_or_path: Text
    """Hub id, local directory, or builtin:NAME."""
    attn_implementation: Literal["sdpa", "eager"] = "sdpa"
    """How attention is computed; prefixes are shared only with sdpa."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the computation; master weights stay fp32."""
    chat_template: Text | None = None
    """Jinja text or a path; overrides the tokenizer's own."""
    chat_template_kwargs: dict[str, Any] = {}
    """Passed to every render, e.g. enable_thinking."""
    activation_checkpointing: Checkpointing = "none"
    """Compute activations again in the backward pass: less memory, more time."""
    compile: Flag = False
    """torch.compile each block."""


class Rows(Section):
    """Rows of one place, `path` or `dataset_name`, and what is read from them."""

    path: DataPath | None = None
    """A file, a glob such as "logs/*.jsonl", or a list of them."""
    dataset_name: Text | None = None
    """A hub id."""
    split: Text = "train"
    """A split, or a slice of one: train[:100], train[10%:]."""
    revision: Text | None = None
    """Version of the hub data set: a branch, tag or commit."""
    streaming: Flag = False
    """Fetch rows of the hub as they are read, and keep none on disk."""
    format: Text | None = None
    """Format of the rows; null: each row tells its own."""
    limit_dataset_samples: Count | None = None
    """Read only the first so many rows."""
    columns: dict[Text, Text] = {}
    """Name in the format: name in the data; a name that ends in ? may be missing."""
    where: Where = {}
    """Rows to learn from: {outcome: success, score: ">=0.5", rating: [4, 5]}."""
    weight_by: Text | None = None
    """A column whose number multiplies the row's loss."""
    group_by: Text | None = None
    """A column whose equal values stay on one side of the split."""

    def trace_source(self, seed: int = 0, **more: Any) -> TraceSource:
        """What these keys say, for the reader; `more` are other fields of it.

        Raises UserError for what cannot be read.
        """
        return trace_source(
            self.path,
            dataset_name=self.dataset_name,
            split=self.split,
            revision=self.revision,
            streaming=self.streaming,
            format=self.format,
            limit=self.limit_dataset_samples,
            columns=self.columns,
            where=self.where,
            weight_by=self.weight_by,
            group_by=self.group_by,
            seed=seed,
            **more,
        )


class MixedSource(Rows):
    """One of several sources: with neither `count` nor `weight`, all of its rows are used."""

    count: Count | None = None
    """So many rows, chosen at random by `seed`."""
    weight: Positive | None = None
    """Share among the weighted sources; no row is used twice."""

    def trace_source(self, seed: int = 0, **more: Any) -> TraceSource:
        return super().trace_source(seed, count=self.count, weight=self.weight, **more)


class Source(Rows):
    """Where traces come from: one of `path`, `dataset_name` and `sources`."""

    sources: tuple[MixedSource, ...] = ()
    """Several, mixed: [{path: A, weight: 2}, {path: B}]."""
    stitch: Flag | None = None
    """Logged requests become sessions; null: as the format says."""
    deduplicate: Literal["keep", "weight", "drop"] = "keep"
    """What becomes of n copies of a conversation: weight gives each 1/n of the loss."""

    @property
    def names_a_place(self) -> bool:
        return self.path is not None or self.dataset_name is not None or bool(self.sources)

    def trace_source(self, seed: int = 0, **more: Any) -> TraceSource:
        return super().trace_source(
            seed,
            sources=[source.trace_source(seed) for source in self.sources],
            stitch=self.stitch,
            deduplicate=self.deduplicate,
            **more,
        )


class LossWeights(Section):
    """What a target weighs by the part of the turn it is in; 0 masks the part."""

    tool_call: NonNegative = 1.0
    """The calls, and the structure and stop of a turn that calls."""
    text: NonNegative = 1.0
    """What the assistant says, and the stop of a turn that does not call."""
    reasoning: NonNegative = 1.0
    """What the assistant thinks."""


class Dataset(Source):
    """The traces to train on, and which of their tokens carry loss."""

    train_on_last_turn_only: Flag = False
    """Loss on a trace's last assistant turn alone."""
    mask_reasoning_content: Flag = False
    """Reasoning is shown but carries no loss."""
    drop_history_reasoning_content: Flag = False
    """Prompts show no reasoning from before their last user message."""
    seq_length: Count | None = None
    """Longest turn in tokens; one of the next three must act on it."""
    truncate_history: Flag = False
    """Whole oldest exchanges go until a trace fits."""
    filter_overlong: Flag = False
    """Traces that are still longer are rejected."""
    truncation: Flag = False
    """Traces that are still longer lose the turns that do not fit."""
    filter_no_assistant: Flag = False
    """Reject rows without an assistant turn under a code of their own."""
    trim_incomplete_last_turn: Flag = False
    """What no assistant message answers is cut off."""
    skip_failed_calls: Flag = False
    """No loss on calls that failed and were mended by a later one."""
    control_tokens: Literal["reject", "escape", "allow"] = "reject"
    """What becomes of rows whose data spell out control strings of the template."""
    loss_weights: LossWeights = LossWeights()
    """What a target weighs by the part of the turn it is in."""
    shuffle: Flag = True
    """Another order of the traces in each epoch; false: the order of the data."""
    allow_overlap: Flag = False
    """Evaluate on training rows all the same; split.json lists them."""
    num_workers: NonNegativeInt | None = None
    """Processes that prepare data; null: by the cores there are, 0 or 1: this one alone."""


class ValidationDataset(Source):
    """A source of its own, or the `fraction` of `dataset` held out (whole groups at a time)."""

    fraction: Fraction | None = None
    """Share of the traces of `dataset` to hold out."""


class ToolCallEval(Source):
    """Tool-call accuracy during training; without a source of its own, on the validation traces."""

    enabled: Flag = True
    """Generate and score held-out turns."""
    max_eval_samples: Count | None = 128
    """How many turns that call tools are generated; null: all of them."""
    include_abstain: Flag = True
    """Generate turns that should not call, too; they are scored apart."""
    max_new_tokens: Count = 256
    """Tokens that an answer may have."""
    max_prompt_tokens: Count | None = None
    """Turns with longer prompts are skipped, and count as wrong."""
    every_steps: Count | None = None
    """Steps between two evaluations; null: at each validation."""
    run_on_fsdp2: Flag = True
    """Measure between steps with sharded weights too; false: only before and after."""
    extra_datasets: dict[SetName, Source] = {}
    """Further data sets by name, scored apart as tool_call/NAME/..."""


class StepScheduler(Section):
    """How many traces make a step, how many steps make a run, and what happens when."""

    global_batch_size: Count = 8
    """Traces of one optimizer step."""
    local_batch_size: Count | None = None
    """Traces of one micro-batch; null: the packer decides."""
    num_epochs: Count = 1
    """How often every trace is trained on."""
    max_steps: Count | None = None
    """Steps after which the run ends, if num_epochs has not ended it before."""
    val_every_steps: Count | None = None
    """Steps between two validations; null: at the end of each epoch."""
    ckpt_every_steps: Count | None = None
    """Steps between two checkpoints; null: at the end of each epoch."""


class Optimizer(Section):
    """AdamW. `lr` left out is 2e-4 with `peft`, 1e-5 without."""

    name: Literal["adamw"] = "adamw"
    """The optimizer."""
    lr: Positive
    """Learning rate after the warm-up; by default 2e-4 with `peft`, 1e-5 without."""
    betas: Betas = (0.9, 0.95)
    """Decay of the two moments."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegative = 0.01
    """Decay of matrices; biases, norms and embeddings do not decay."""
    max_grad_norm: Positive = 1.0
    """Joint norm to which gradients are clipped."""


class LrScheduler(Section):
    """Linear warm-up to `optimizer.lr`, then a decay to `min_lr` at the last step."""

    lr_decay_style: Literal["cosine", "constant", "linear"] = "cosine"
    """Shape of the fall after the warm-up."""
    lr_warmup_steps: NonNegativeInt | None = None
    """Steps of linear warm-up; null: 3 % of the steps."""
    min_lr: NonNegative = 0.0
    """Learning rate one step past the last."""


class Peft(Section):
    """LoRA. `alpha` left out equals `dim`; the adapters are scaled by alpha / dim."""

    dim: Count = 16
    """Rank of the adapters."""
    alpha: Count
    """The adapters are scaled by alpha / dim; by default equal to `dim`."""
    dropout: Probability = 0.0
    """Dropout before the adapters."""
    target_modules: Modules = "all-linear"
    """all-linear, or a list of module names such as q_proj."""
    use_dora: Flag = False
    """DoRA: magnitude and direction are trained apart."""
    quantization: Literal["nf4", "int8"] | None = None
    """QLoRA: the frozen weights in 4 or 8 bits (bitsandbytes); null: in model.dtype."""


class Distributed(Section):
    """How several processes share a run; one process runs unsharded whatever stands here."""

    strategy: Literal["fsdp2", "ddp", "none"] = "fsdp2"
    """fsdp2 shards weights and optimizer, ddp copies them, none refuses a second process."""
    dp_replicate_size: Count = 1
    """HSDP: copies of the sharded model, usually one a node; 1: sharded over all processes."""
    reshard_after_forward: Flag = True
    """Gather weights again for the backward pass: less memory, more traffic."""
    timeout_seconds: Count = 600
    """A process that is silent for longer ends the run."""


class Checkpoint(Section):
    enabled: Flag = True
    """Save checkpoints."""
    async_save: Flag = False
    """Write while training goes on; a save waits for the one before."""
    keep_last: Count = 2
    """Checkpoints kept beside the best ones and the latest, which always stay."""
    save_consolidated: Literal["best_and_latest", "all"] = "best_and_latest"
    """Which checkpoints of a LoRA run hold a merged copy of the model."""


class EarlyStopping(Section):
    """Stop when held-out results no longer improve."""

    metric: Literal["tool_call", "val_loss"] = "tool_call"
    """Tool-call accuracy (of its balanced kind), or the validation loss."""
    patience: Count = 3
    """Measurements in a row without a new best."""
    min_delta: NonNegative = 0.0
    """What counts as better: by more than this."""


class Log(Section):
    every_steps: Count = 1
    """Steps between two lines of progress."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Where metrics go beside metrics.jsonl."""
    project: Text = "tooltune"
    """Project (MLflow: experiment) of the trackers."""
    run_name: Text | None = None
    """Name of the run there; null: that of output_dir."""


class Config(Section):
    """One run. Made by `load_config`; every field is valid and every derived default is filled."""

    model: Model
    """What is fine-tuned."""
    dataset: Dataset
    """What is trained on."""
    validation_dataset: ValidationDataset | None
    """What is held out; null: nothing."""
    tool_call_eval: ToolCallEval = ToolCallEval()
    """How tool-call accuracy is measured during training."""
    step_scheduler: StepScheduler = StepScheduler()
    """Batches, epochs, and what happens when."""
    optimizer: Optimizer
    """AdamW and its settings."""
    lr_scheduler: LrScheduler = LrScheduler()
    """How the learning rate changes."""
    peft: Peft | None = None
    """LoRA; null: all weights are trained."""
    distributed: Distributed = Distributed()
    """How training is spread over processes."""
    checkpoint: Checkpoint = Checkpoint()
    """What is saved."""
    early_stopping: EarlyStopping | None = None
    """When to stop before the last step; null: never."""
    log: Log = Log()
    """What is printed."""
    seed: Seed = 0
    """Of order, sampling, initialisation and dropout."""
    deterministic: Flag = False
    """Only kernels that give the same bits each time; slower on CUDA."""
    output_dir: Text
    """The run's folder; by default runs/ and the name of the file."""

    def resolved(self) -> dict[str, Any]:
        """All keys with their values as plain dicts, lists and scalars, in the schema's order."""
        return self.model_dump(mode="json")
