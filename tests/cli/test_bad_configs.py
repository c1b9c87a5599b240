"""Configs and output folders that cannot be used, as a person meets them on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import files_below, refused, succeeds, tooltune, write_config
from tests.cli.conftest import TinyRun

# From the reference's guide: keys of another tool, pasted.
PASTED = """
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: Qwen/Qwen2.5-3B
loss_fn:
  _target_: nemo_automodel.components.loss.te_parallel_ce.TEParallelCrossEntropy
dataset:
  _target_: nemo_automodel.components.datasets.llm.agent_chat.make_agent_chat_dataset
  dataset_name: llamafactory/glaive_toolcall_en
  seq_length: 4096
step_scheduler:
  global_batch_size: 32
checkpoint:
  checkpoint_dir: checkpoints/
distributed:
  dp_size: 8
"""


@pytest.mark.parametrize("verb", ["train", "check", "preview"])
def test_every_problem_of_a_config_is_shown_at_once(verb: str, tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "my.yaml", "model: m\ndataset: {path: F, splt: train}\noptimizer: {lr: fast}\n"
    )
    said = refused(verb, path, "--seed=-1")
    assert f"{path}: 3 problems" in said
    assert "line 2: dataset.splt" in said
    assert "did you mean dataset.split?" in said
    assert "line 3: optimizer.lr: fast" in said
    assert "command line, --seed=-1" in said


def test_keys_pasted_from_the_references_yaml_say_what_to_write_instead(tmp_path: Path) -> None:
    said = refused("train", write_config(tmp_path / "my.yaml", PASTED))
    for key, fix in {
        "loss_fn": "delete this section",
        "checkpoint.checkpoint_dir": "output_dir: FOLDER",
        "distributed.dp_size": "--nproc-per-node",
        "model._target_": "never code from YAML",
    }.items():
        assert key in said
        assert fix in said.split(key, 1)[1].split("line ", 1)[0]


@pytest.mark.parametrize(
    ("text", "message"), [("", "is empty"), ("- a\n", "no `key: value` lines"), ("a: [", "YAML")]
)
def test_a_file_that_is_no_config_says_so(tmp_path: Path, text: str, message: str) -> None:
    path = write_config(tmp_path / "my.yaml", text)
    assert message in refused("train", path)
    assert message in refused("check", path)


def test_a_missing_config_says_how_short_one_may_be(tmp_path: Path) -> None:
    said = refused("train", tmp_path / "none.yaml")
    assert "does not exist" in said
    assert "dataset: {path: FILE}" in said


def test_markup_in_a_config_neither_breaks_nor_colours_its_error(tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "my.yaml", 'model: m\ndataset: {path: F}\n"[/bold]": "\\e[31m"\n'
    )
    printed = tooltune("train", path)
    assert printed.code == 2
    assert "[/bold]" in printed.err
    assert "\x1b[31m" not in printed.err


def test_an_override_of_the_path_replaces_the_hub_name_and_the_reverse(
    model: Path, data: Path, tmp_path: Path
) -> None:
    hub = write_config(
        tmp_path / "hub.yaml", f"model: {model}\ndataset: {{dataset_name: nobody/traces}}\n"
    )
    assert "8 read" in succeeds("check", hub, f"--dataset.path={data}").out
    local = write_config(tmp_path / "local.yaml", f"model: {model}\ndataset: {{path: {data}}}\n")
    assert "hub data set 'a/b'" in refused("check", local, "--dataset.dataset_name=a/b")


def test_a_misspelt_option_is_an_error_and_not_ignored(config: Path, data: Path) -> None:
    assert "--jsn has no value" in refused("check", config, "--jsn")
    assert "--help" in refused("check", config, "--jsn")
    assert "'stray' is no override" in refused("train", config, "stray")
    assert "is no key" in refused("preview", data, "--model", "m", "--colour=3")


# Output folders ---------------------------------------------------------------------------


def test_the_folder_of_another_run_is_refused_with_the_difference_and_left_alone(
    run: TinyRun,
) -> None:
    before = files_below(run.folder)
    metrics = (run.folder / "metrics.jsonl").read_bytes()
    said = refused("train", run.config, "--optimizer.lr=0.5", "--peft.dim=2")
    assert "optimizer.lr: 0.0002 -> 0.5" in said
    assert "peft.dim: 4 -> 2" in said
    assert "another output_dir" in said
    assert files_below(run.folder) == before
    assert (run.folder / "metrics.jsonl").read_bytes() == metrics


def test_a_folder_that_holds_something_else_is_left_alone(config: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert "holds no run" in refused("train", config)
    assert files_below(tmp_path / "run") == ["thesis.txt"]


def test_an_output_folder_that_cannot_be_made_is_named_before_the_work(
    config: Path, model: Path, data: Path, evaluations: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert f"{file} is a file" in refused("train", config, f"--output_dir={file}")
    assert str(file) in refused("train", config, f"--output_dir={file / 'run'}")
    said = refused("eval", "--model", model, "--data", data, "--out", file / "e")
    assert str(file) in said
    assert str(file) in refused("compare", *evaluations, "--out", file / "c")
    assert str(file) in refused("demo", "--out", file / "demo")


def test_a_run_that_failed_before_it_began_does_not_block_the_mended_one(
    config: Path, tmp_path: Path
) -> None:
    assert "target_modules" in refused("train", config, "--peft.target_modules=[nowhere]")
    assert (tmp_path / "run" / "config.yaml").is_file()
    succeeds("train", config, "--step_scheduler.max_steps=1", "--tool_call_eval.enabled=false")
    assert (tmp_path / "run" / "checkpoints" / "LATEST").is_dir()


def test_processes_that_have_no_place_are_refused_before_they_are_started(config: Path) -> None:
    two = ("--nproc-per-node", "2")
    assert "strategy is none" in refused("train", config, *two, "--distributed.strategy=none")
    assert "at least 4" in refused("train", config, *two, "--distributed.dp_replicate_size=2")
