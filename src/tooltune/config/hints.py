"""What to say about a key that does not exist: what it is called here, or what it looks like.

`FOREIGN` maps keys of the reference's YAML (NVIDIA NeMo AutoModel's recipes) and of other
trainers to what to write instead. A pattern is a dotted path in which `*` stands for anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, get_args

from pydantic import BaseModel

from tooltune.config.yamlfile import KeyPath

_AUTOMATIC = "delete this line"
_NOT_HERE = "delete this section"

# pattern -> (why it has no place here, what to write instead). The first match counts.
FOREIGN: Mapping[str, tuple[str, str]] = {
    "optimizer._target_": (
        "names come from closed lists, never code from YAML",
        "torch.optim.AdamW is `name: adamw`, which is the default",
    ),
    "peft._target_": ("LoRA is the one method, and needs no class", "delete this line"),
    "*_target_": (
        "names come from closed lists, never code from YAML",
        "delete this line",
    ),
    # top level
    "recipe": ("there is one recipe", "delete this line"),
    "dist_env": ("the process group is set up by itself", _NOT_HERE),
    "rng": ("seeds have one key", "seed: 0 at the top level"),
    "compile": ("belongs to the model", "model: {compile: true}"),
    "clip_grad_norm": ("clipping belongs to the optimizer", "optimizer: {max_grad_norm: 1.0}"),
    "loss_fn": ("the loss is computed at targets only, with no full logits", _NOT_HERE),
    "packed_sequence": ("traces are packed and share prefixes by themselves", _NOT_HERE),
    "dataloader": ("batches come from the packer", _NOT_HERE + "; see dataset.shuffle and seed"),
    "validation_dataloader": ("batches come from the packer", _NOT_HERE),
    "nvtx": ("there are no profiler ranges", "delete this line"),
    "wandb": ("belongs to log", "log: {trackers: [wandb]}"),
    "mlflow": ("belongs to log", "log: {trackers: [mlflow]}"),
    "loggers": ("belongs to log", "log: {trackers: [tensorboard]}"),
    "logging": ("is called log here", "log: {every_steps: 1}"),
    "quantization": ("belongs to peft", "peft: {quantization: nf4}"),
    "lora": ("is called peft here", "peft: {dim: 16}"),
    "scheduler": ("is called lr_scheduler here", "lr_scheduler: {lr_decay_style: cosine}"),
    "checkpoint_dir": ("checkpoints live in the run's folder", "output_dir: FOLDER"),
    "learning_rate": ("belongs to the optimizer", "optimizer: {lr: 1e-5}"),
    "batch_size": ("belongs to the schedule", "step_scheduler: {global_batch_size: 8}"),
    "epochs": ("belongs to the schedule", "step_scheduler: {num_epochs: 1}"),
    # model
    "model.output_hidden_states": ("hidden states are picked at the targets anyway", _AUTOMATIC),
    "model.torch_dtype": ("is called dtype here", "dtype: bfloat16"),
    "model.trust_remote_code": ("code from a model's repository is never run", _AUTOMATIC),
    "model.name": ("has a longer name", "pretrained_model_name_or_path: NAME, or `model: NAME`"),
    "model.tokenizer": ("the tokenizer comes with the model", _AUTOMATIC),
    "model.use_*": ("kernels are chosen by themselves", _AUTOMATIC),
    # data
    "*dataset.tokenizer": ("the tokenizer comes with the model", _AUTOMATIC),
    "*dataset.padding": ("sequences are packed, never padded", _AUTOMATIC),
    "*dataset.answer_only_loss_mask": ("only the model's own turns carry loss, always", _AUTOMATIC),
    "*dataset.chat_template": ("belongs to the model", "model: {chat_template: TEXT_OR_FILE}"),
    "*dataset.split_name": ("is called split here", "split: train"),
    "*dataset.weights": ("stands in each source", "sources: [{path: A, weight: 2}, {path: B}]"),
    "*dataset.column_mapping": ("is called columns here", "columns: {messages: NAME_IN_THE_DATA}"),
    "*dataset.data_files": ("is called path here", "path: FILE"),
    **{
        f"validation_dataset.{key}": ("is taken from dataset", _AUTOMATIC)
        for key in (
            "train_on_last_turn_only",
            "mask_reasoning_content",
            "drop_history_reasoning_content",
            "seq_length",
            "truncat*",
            "filter_*",
            "trim_incomplete_last_turn",
            "skip_failed_calls",
            "control_tokens",
            "loss_weights",
        )
    },
    "validation_dataset.shuffle": ("validation keeps the order of the data", _AUTOMATIC),
    # evaluation
    "tool_call_eval.do_sample": ("the evaluation during training is greedy", _AUTOMATIC),
    "tool_call_eval.raise_on_cuda_oom": ("batches shrink before memory runs out", _AUTOMATIC),
    "tool_call_eval.metric_prefix": ("the prefix is tool_call/", _AUTOMATIC),
    "tool_call_eval.dataset": ("its keys stand in tool_call_eval itself", "path: FILE"),
    # schedule
    "step_scheduler.log_remote_every_steps": ("belongs to log", "log: {every_steps: 1}"),
    "step_scheduler.save_checkpoint_every_epoch": (
        "an epoch ends with a checkpoint unless ckpt_every_steps says otherwise",
        _AUTOMATIC,
    ),
    "step_scheduler.gc_every_steps": ("has no counterpart here", _AUTOMATIC),
    "lr_scheduler.lr_decay_steps": ("the decay ends with the run's last step", _AUTOMATIC),
    "lr_scheduler.lr_warmup_ratio": (
        "warm-up is given in steps",
        "lr_warmup_steps: N (3 % of the steps when left out)",
    ),
    "optimizer.foreach": ("has no counterpart here", _AUTOMATIC),
    "optimizer.fused": ("has no counterpart here", _AUTOMATIC),
    # LoRA
    "peft.match_all_linear": ("is a value of target_modules", "target_modules: all-linear"),
    "peft.exclude_modules": ("modules are named, not excluded", "target_modules: [q_proj, ...]"),
    "peft.use_triton": ("kernels are chosen by themselves", _AUTOMATIC),
    "peft.r": ("is called dim here", "dim: 16"),
    "peft.rank": ("is called dim here", "dim: 16"),
    "peft.lora_alpha": ("is called alpha here", "alpha: 16"),
    "peft.lora_dropout": ("is called dropout here", "dropout: 0.0"),
    # processes
    "distributed.dp_size": (
        "every process that is started takes part",
        "delete this line, and start with --nproc-per-node N",
    ),
    "distributed.?p_size": ("only the batch is split over processes", _AUTOMATIC),
    "distributed.sequence_parallel": ("only the batch is split over processes", _AUTOMATIC),
    "distributed.mp_policy": ("model.dtype computes, fp32 is kept and reduced", _AUTOMATIC),
    "distributed.offload_policy": ("weights stay on their devices", _AUTOMATIC),
    "distributed.activation_checkpointing": (
        "belongs to the model",
        "model: {activation_checkpointing: full}",
    ),
    "fsdp": ("is called distributed here", "distributed: {strategy: fsdp2}"),
    "ddp": ("is called distributed here", "distributed: {strategy: ddp}"),
    # checkpoints
    "checkpoint.checkpoint_dir": (
        "checkpoints live in the run's folder",
        "output_dir: FOLDER at the top level",
    ),
    "checkpoint.model_save_format": ("weights are safetensors always", _AUTOMATIC),
    "checkpoint.is_async": ("is called async_save here", "async_save: true"),
    "checkpoint.best_metric_key": (
        "both LOWEST_VAL and BEST_TOOL_CALL are kept",
        _AUTOMATIC,
    ),
    "checkpoint.restore_from": ("a run goes on by itself when started again", _AUTOMATIC),
}

# What to write where a key is right but the value is none that it takes.
VALUE_FIXES: Mapping[KeyPath, str] = {
    ("dataset",): "dataset: {path: FILE} or dataset: {dataset_name: HUB_ID}",
    ("validation_dataset",): "validation_dataset: {fraction: 0.1}, or null for none",
    ("tool_call_eval",): "tool_call_eval: {enabled: false} turns it off",
    ("dataset", "sources"): "sources: [{path: A, weight: 2}, {path: B, weight: 1}]",
    ("dataset", "columns"): "columns: {messages: NAME_IN_THE_DATA}",
    ("dataset", "deduplicate"): "deduplicate: keep, weight or drop",
    ("dataset", "control_tokens"): "control_tokens: reject, escape or allow",
    ("peft",): "peft: {dim: 16} for LoRA, or null for full fine-tuning",
    ("distributed", "strategy"): "strategy: fsdp2, ddp or none",
    ("model", "activation_checkpointing"): "activation_checkpointing: none, selective or full",
    ("peft", "quantization"): "quantization: nf4 or int8, or null",
    ("log", "trackers"): "trackers: [tensorboard, wandb, mlflow, trackio], or some of them",
    ("early_stopping",): "early_stopping: {patience: 3}, or null for never",
    ("checkpoint", "save_consolidated"): "save_consolidated: best_and_latest, or all",
    ("model", "dtype"): "dtype: bfloat16, or float32",
}


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, or None where nothing is near."""
    near = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return near[0] if near else None


def foreign_key(path: KeyPath) -> tuple[str, str] | None:
    """Why a key known from elsewhere has no place here, and what to write instead."""
    dotted = ".".join(path)
    for pattern, hint in FOREIGN.items():
        if fnmatchcase(dotted, pattern):
            return hint
    return None


def unknown_key(path: KeyPath, schema: type[BaseModel], root: type[BaseModel]) -> tuple[str, str]:
    """The message and fix for a key of section `schema` that exists nowhere in it."""
    known = foreign_key(path)
    if known is not None:
        return known
    *section, key = path
    near = closest(key, schema.model_fields)
    if near is not None:
        return "is no key of this configuration", f"did you mean {'.'.join([*section, near])}?"
    elsewhere = {found[-1]: found for found in reversed(list(key_paths(root)))}
    near = closest(key, elsewhere)
    if near is not None:
        return "is no key of this section", f"did you mean {'.'.join(elsewhere[near])}?"
    return "is no key of this configuration", f"one of: {', '.join(schema.model_fields)}"


def key_paths(schema: type[BaseModel], above: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key of a schema as a path, sections before what is in them."""
    for name, field in schema.model_fields.items():
        yield (*above, name)
        inner = section_of(field.annotation)
        if inner is not None:
            yield from key_paths(inner, (*above, name))


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class of a field (`Peft` of `Peft | None`), or None for a plain value."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def unknown_keys(
    values: Any, schema: type[BaseModel], root: type[BaseModel] | None = None, above: KeyPath = ()
) -> Iterator[tuple[KeyPath, str, str]]:
    """Each unknown key of `values` as (path, message, fix); keys inside it are not looked at."""
    if not isinstance(values, dict):
        return
    root = root or schema
    for key, value in values.items():
        path = (*above, str(key))
        field = schema.model_fields.get(str(key))
        if field is None:
            yield path, *unknown_key(path, schema, root)
            continue
        inner = section_of(field.annotation)
        if inner is None:
            continue
        for name, part in _sections_in(value, field.annotation):
            yield from unknown_keys(part, inner, root, path if name is None else (*path, name))


def _sections_in(value: Any, annotation: Any) -> Iterator[tuple[str | None, Any]]:
    """The sections that a value holds by name or number, or that it is (no name)."""
    kind = getattr(annotation, "__origin__", None)
    if kind is dict and isinstance(value, dict):
        yield from ((str(name), part) for name, part in value.items())
    elif kind is tuple and isinstance(value, (list, tuple)):
        yield from ((str(index), part) for index, part in enumerate(value))
    else:
        yield None, value
