"""What a wrong config says: every problem at once, its line, key and value, and the fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tooltune.config import load_config
from tooltune.config.hints import FOREIGN, VALUE_FIXES, key_paths
from tooltune.config.layers import nested
from tooltune.config.schema import Config
from tooltune.config.splits import overlap
from tooltune.errors import UserError

MINIMAL = "model: m\ndataset: {path: F}\n"


def refused(tmp_path: Path, text: str, *overrides: str) -> str:
    path = tmp_path / "tuning.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    return str(caught.value)


# Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"- a\n- b\n", "no `key: value` lines"),
        (b"model: [a\n", "line 2 is not YAML"),
        (b"model: m\n\tdataset: x\n", "line 2 is not YAML"),
        (b"model: \xff\n", "not UTF-8"),
        (b"model: !!python/object/apply:os.system [ls]\n", "delete the tag"),
        (b"model: &a [*a]\n", "is not YAML"),
        (b"model: m\n---\nmodel: n\n", "is not YAML"),
        (b"[" * 5000, "is not YAML"),
    ],
)
def test_a_file_that_is_no_config_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tuning.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)):
        load_config(path)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a directory"):
        load_config(tmp_path)


# All problems at once, in place -------------------------------------------------------------


def test_all_problems_are_listed_with_line_key_value_and_fix(tmp_path: Path) -> None:
    said = refused(
        tmp_path,
        "model: m\ndataset:\n  path: F\n  splt: train\nseed: 1.5\noptimizer: {lr: -1}\n",
        "--log.every_steps=0",
    )
    assert "tuning.yaml: 4 problems" in said
    assert "line 4: dataset.splt: train" in said
    assert "fix: did you mean dataset.split?" in said
    assert "line 5: seed: 1.5\n      must be a whole number" in said
    assert "line 6: optimizer.lr: -1\n      must be greater than 0" in said
    assert "command line, --log.every_steps=0: log.every_steps: 0\n      must be at least 1" in said


def test_a_key_written_twice_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    said = refused(tmp_path, MINIMAL + "peft:\n  dim: 8\n  dropout: 0.1\n  dim: 16\n")
    assert "peft.dim" in said
    assert "in lines 4 and 6" in said


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("optimizer.lrr", "optimizer.lr"),
        ("datset", "dataset"),
        ("step_scheduler.global_batchsize", "step_scheduler.global_batch_size"),
        ("lr", "optimizer.lr"),
        ("dim", "peft.dim"),
        ("step_scheduler.max_grad_norm", "optimizer.max_grad_norm"),
        ("tool_call_eval.extra_datasets.unseen.pth", "tool_call_eval.extra_datasets.unseen.path"),
        ("validation_dataset.fracton", "validation_dataset.fraction"),
    ],
)
def test_a_misspelt_or_misplaced_key_is_recognised(
    tmp_path: Path, key: str, suggestion: str
) -> None:
    assert f"did you mean {suggestion}?" in refused(tmp_path, MINIMAL, f"--{key}=1")


def test_an_unrecognisable_key_lists_those_of_its_section(tmp_path: Path) -> None:
    assert "one of: strategy" not in refused(tmp_path, MINIMAL, "--log.zzz=1")
    assert "fix: one of: every_steps" in refused(tmp_path, MINIMAL, "--log.zzz=1")


def test_a_problem_of_a_section_points_at_what_was_written_in_it(tmp_path: Path) -> None:
    said = refused(tmp_path, MINIMAL, "--validation_dataset.split=test")
    assert "command line, --validation_dataset.split=test: validation_dataset\n" in said


def test_a_missing_model_and_dataset_are_both_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "seed: 1\n")
    assert "2 problems" in said
    assert "builtin:smollm2-135m-instruct" in said
    assert "dataset: {path: FILE}" in said


# Values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--step_scheduler.global_batch_size=0", "must be at least 1"),
        ("--step_scheduler.num_epochs=1.5", "must be a whole number"),
        ("--step_scheduler.num_epochs=true", "must be a whole number"),
        ("--optimizer.lr=0", "must be greater than 0"),
        ("--optimizer.lr=fast", "must be a number"),
        ("--optimizer.lr=.inf", "must be a finite number"),
        ("--optimizer.lr=.nan", "must be"),
        ("--optimizer.betas=[0.9, 1.0]", "must be less than 1"),
        ("--optimizer.betas=[0.9]", "betas: [0.9, 0.95]"),
        ("--optimizer.betas=0.9", "must be two numbers"),
        ("--optimizer.name=adam", "did you mean adamw?"),
        ("--lr_scheduler.lr_decay_style=cosin", "did you mean cosine?"),
        ("--lr_scheduler.min_lr=1", "must not be above optimizer.lr"),
        ("--validation_dataset.fraction=1", "must be less than 1"),
        ("--validation_dataset.fraction=0", "must be greater than 0"),
        ("--peft.dim=0", "must be at least 1"),
        ("--peft.dropout=1", "must be less than 1"),
        ("--peft.target_modules=all", "must be all-linear or a list"),
        ("--peft=lora", "peft: {dim: 16}"),
        ("--dataset=F", "dataset: {path: FILE}"),
        ("--dataset.shuffle=1", "must be true or false"),
        ("--dataset.path=7", "put it in quotes: '7'"),
        ("--dataset.path=[]", "at least one file"),
        ("--dataset.path=", "must not be empty"),
        ("--dataset.revision=abc", "belongs to a hub data set"),
        ("--validation_dataset={fraction: 0.1, split: test}", "belongs to a data set of its own"),
        ("--tool_call_eval.split=test", "belongs to a data set of its own"),
        ("--dataset.streaming=true", "belongs to a hub data set"),
        ("--dataset.where=success", "where: {outcome: success}"),
        ("--dataset.where={score: '>='}", "compares with no number or text"),
        ("--dataset.columns=messages", "columns: {messages: NAME_IN_THE_DATA}"),
        ("--dataset.columns={messages: 7}", "must be text"),
        ("--dataset.deduplicate=yes please", "keep, weight or drop"),
        ("--dataset.stitch=1", "must be true or false"),
        ("--dataset={path: F, sources: [{path: G}]}", "more than once: path and sources"),
        ("--dataset={sources: [{path: F}, {}]}", "does not say where its traces are"),
        ("--dataset={sources: []}", "does not say where its traces are"),
        ("--dataset={sources: [{path: F}], where: {a: 1}}", "move it into the sources"),
        ("--dataset={sources: [{path: F, count: 0}]}", "must be at least 1"),
        ("--dataset={sources: [{path: F, weight: -1}, {path: G}]}", "must be greater than 0"),
        ("--dataset={sources: [{path: F, weight: 1}, {path: G}]}", "relative to the weights of"),
        ("--dataset={sources: [{path: F, weight: 1, count: 2}]}", "has a count and a weight"),
        ("--dataset={sources: [{path: F, revision: a}]}", "belongs to a hub data set"),
        ("--dataset={sources: [{path: F, sources: []}]}", "is no key of this section"),
        ("--dataset={sources: [F, G]}", "must be a section of"),
        ("--dataset={sources: F}", "sources: [{path: A, weight: 2}, {path: B, weight: 1}]"),
        ("--validation_dataset={fraction: 0.1, where: {a: 1}}", "belongs to a data set of its own"),
        ("--tool_call_eval.deduplicate=drop", "belongs to a data set of its own"),
        ("--tool_call_eval=null", "enabled: false"),
        ("--validation_dataset=null", "it uses the validation traces"),
        ("--tool_call_eval.extra_datasets.Big={path: G}", "small letters"),
        ("--tool_call_eval.extra_datasets.held_out={path: G}", "main evaluation set"),
        ("--tool_call_eval.extra_datasets.x={limit_dataset_samples: 3}", "does not say where"),
        ("--distributed.strategy=fsdp1", "did you mean fsdp2?"),
        ("--model.activation_checkpointing=some", "none, selective or full"),
        ("--early_stopping={patience: 0}", "must be at least 1"),
        ("--log.trackers=[aim]", "or 'trackio'"),
        ("--checkpoint.save_consolidated=true", "best_and_latest, or all"),
        ("--checkpoint.keep_last=0", "must be at least 1"),
        ("--step_scheduler.local_batch_size=9", "must not be above global_batch_size"),
        ("--model.dtype=fp16", "bfloat16, or float32"),
        ("--seed=-1", "must be at least 0"),
        ("--seed=4294967296", "must be less than"),
        ("--seed=null", "must be a whole number"),
        ("--output_dir=''", "must not be empty"),
    ],
)
def test_a_value_out_of_range_or_of_a_wrong_type_is_refused(
    tmp_path: Path, override: str, message: str
) -> None:
    assert message in refused(tmp_path, MINIMAL, override)


def test_two_sources_in_one_section_are_refused(tmp_path: Path) -> None:
    text = "model: m\ndataset:\n  path: F\n  dataset_name: D\nvalidation_dataset: {split: test}\n"
    said = refused(tmp_path, text)
    assert "line 2: dataset\n      names its traces more than once: path and dataset_name" in said
    assert "line 5: validation_dataset\n      does not say where" in said


def test_a_key_of_one_of_several_sources_is_named_with_its_line(tmp_path: Path) -> None:
    text = (
        "model: m\ndataset:\n  sources:\n  - path: F\n    wher: {a: 1}\n  - path: G\n    count: x\n"
    )
    said = refused(tmp_path, text)
    assert "line 5: dataset.sources.0.wher\n" in said
    assert "did you mean dataset.sources.0.where?" in said
    assert "line 7: dataset.sources.1.count: x\n      must be a whole number" in said


@pytest.mark.parametrize(
    ("dataset", "held_out", "shared"),
    [
        ("{path: F}", "{path: F, where: {good: true}}", True),
        ("{path: F, where: {good: true}}", "{path: F}", False),
        ("{path: F, where: {good: true}}", "{path: F, where: {good: false}}", False),
        ("{path: F, where: {good: true}}", "{path: F, where: {good: true}}", True),
        ("{sources: [{path: F}, {path: G}]}", "{path: G}", True),
        ("{sources: [{path: F}, {path: G, count: 5}]}", "{path: G}", False),
        ("{sources: [{path: F}, {path: G, split: 'train[:9]'}]}", "{path: G}", True),
        ("{sources: [{path: F}]}", "{sources: [{path: G}, {path: H}]}", False),
    ],
)
def test_shared_rows_are_claimed_only_when_they_are_sure(
    dataset: str, held_out: str, shared: bool, tmp_path: Path
) -> None:
    text = f"model: m\ndataset: {dataset}\nvalidation_dataset: {held_out}\n"
    if shared:
        assert "shares rows" in refused(tmp_path, text)
    else:
        path = tmp_path / "tuning.yaml"
        path.write_text(text)
        assert load_config(path).dataset is not None


# The reference's keys -----------------------------------------------------------------------

REFERENCE = """
recipe: TrainFinetuneRecipeForNextTokenPrediction
dist_env: {backend: nccl}
rng: {_target_: x.StatefulRNG, seed: 1111, ranked: true}
compile: {enabled: false}
clip_grad_norm: {max_norm: 1.0}
loss_fn: {_target_: x.FusedLinearCrossEntropy}
packed_sequence: {packed_sequence_size: 0}
dataloader: {num_workers: 2}
validation_dataloader: {num_workers: 2}
nvtx: false
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: Qwen/Qwen2.5-3B
  output_hidden_states: true
dataset:
  _target_: nemo_automodel.components.datasets.llm.agent_chat.make_agent_chat_dataset
  tokenizer: {_target_: x, pretrained_model_name_or_path: Qwen/Qwen2.5-3B}
  dataset_name: llamafactory/glaive_toolcall_en
  split: train
  seq_length: 4096
  truncation: true
  padding: false
  truncate_history: true
  filter_overlong: true
  filter_no_assistant: true
validation_dataset:
  dataset_name: llamafactory/glaive_toolcall_en
  split: train[:256]
tool_call_eval:
  run_on_fsdp2: true
optimizer: {_target_: torch.optim.AdamW, lr: 1.0e-5}
peft: {match_all_linear: true, use_triton: true, dim: 16}
distributed: {strategy: fsdp2, dp_size: 8, cp_size: 1, sequence_parallel: false}
checkpoint: {enabled: true, checkpoint_dir: checkpoints/}
"""


def test_every_key_of_the_reference_is_told_its_name_here(tmp_path: Path) -> None:
    said = refused(tmp_path, REFERENCE)
    for key, fix in [
        ("recipe", "delete this line"),
        ("dist_env", "delete this section"),
        ("rng", "seed: 0 at the top level"),
        ("compile", "model: {compile: true}"),
        ("clip_grad_norm", "optimizer: {max_grad_norm: 1.0}"),
        ("loss_fn", "delete this section"),
        ("packed_sequence", "delete this section"),
        ("dataloader", "delete this section"),
        ("validation_dataloader", "delete this section"),
        ("nvtx", "delete this line"),
        ("model._target_", "delete this line"),
        ("model.output_hidden_states", "delete this line"),
        ("dataset._target_", "delete this line"),
        ("dataset.tokenizer", "delete this line"),
        ("dataset.padding", "delete this line"),
        ("optimizer._target_", "`name: adamw`"),
        ("peft.match_all_linear", "target_modules: all-linear"),
        ("peft.use_triton", "delete this line"),
        ("distributed.dp_size", "--nproc-per-node"),
        ("distributed.cp_size", "delete this line"),
        ("distributed.sequence_parallel", "delete this line"),
        ("checkpoint.checkpoint_dir", "output_dir: FOLDER"),
    ]:
        block = re.search(rf"line \d+: {re.escape(key)}(:.*)?\n.*\n      fix: (.*)", said)
        assert block is not None, key
        assert fix in block[2], key
    assert "distributed.strategy" not in said
    assert "run_on_fsdp2" not in said
    assert "dataset.seq_length" not in said  # these work here under their own names
    assert "did you mean" not in said
    assert "22 problems" in said


def test_validation_on_training_rows_is_refused_as_in_the_reference(tmp_path: Path) -> None:
    text = "model: m\ndataset: {dataset_name: D}\n%s: {dataset_name: D, split: 'train[:256]'}\n"
    for section in ("validation_dataset", "tool_call_eval"):
        said = refused(tmp_path, text % section)
        assert f"line 3: {section}.split: train[:256]\n      shares rows" in said
        assert "fraction: 0.1" in said


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("train", "train", True),
        ("train", "test", False),
        ("train", "train[:256]", True),
        ("train[256:]", "train[:256]", False),
        ("train[255:]", "train[:256]", True),
        ("train[:90%]", "train[90%:]", False),
        ("train[:90%]", "train[80%:]", True),
        ("train[:-100]", "train[-100:]", False),
        ("train[:-100]", "train[-101:]", True),
        ("train[10:20]", "train[30:40]", False),
        ("train[10:31]", "train[30:40]", True),
        ("train[:100]", "train[:-5]", True),
        ("train[:100]", "train[50%:]", False),  # cannot be known without the number of rows
        ("train+test", "test", True),
        ("train", "test+validation", False),
        ("odd[", "odd[", False),
    ],
)
def test_overlap_is_claimed_only_when_it_is_sure(first: str, second: str, expected: bool) -> None:
    assert overlap(first, second) is expected
    assert overlap(second, first) is expected


# The table itself ---------------------------------------------------------------------------


def _sample(pattern: str) -> tuple[str, ...]:
    filled = "model._target_" if pattern == "*_target_" else pattern.replace("*dataset", "dataset")
    return tuple(filled.replace("*", "x").split("."))


@pytest.mark.parametrize("pattern", FOREIGN)
def test_every_hint_of_the_table_is_reached(pattern: str) -> None:
    base: dict[str, Any] = {"model": "m", "dataset": {"path": "F"}}
    path = _sample(pattern)
    with pytest.raises(UserError) as caught:
        load_config(None, [f"--{'.'.join(path)}=1"], base=base)
    why, fix = FOREIGN[pattern]
    assert why in str(caught.value)
    assert fix in str(caught.value)
    assert nested([(path, 1)])  # the sample is a path


def test_no_hint_hides_a_key_that_exists() -> None:
    known = {".".join(path) for path in key_paths(Config)}
    assert not known & set(FOREIGN)
    assert {".".join(path) for path in VALUE_FIXES} <= known
