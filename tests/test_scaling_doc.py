"""`docs/scaling.md`: its tables are those of the code, and its plans fit and can be started."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from scripts.scaling import EXAMPLE, FULL, LORA, OUT, Plan, page
from tooltune.config.load import load_config
from tooltune.train.sizing.advice import mesh_problem

PLANS = [*FULL, *LORA]


def test_the_tables_are_those_that_the_code_makes() -> None:
    assert OUT.read_text(encoding="utf-8") == page(), "run: python -m scripts.scaling"


def test_sizes_from_half_a_billion_to_seventy_are_planned() -> None:
    sizes = [plan.shape.parameters / 1e9 for plan in FULL]
    assert min(sizes) < 0.6
    assert max(sizes) > 70


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.command)
def test_a_plan_fits_with_room_for_long_traces(plan: Plan) -> None:
    assert mesh_problem(plan.config, plan.gpus) is None
    assert plan.room >= 4096
    assert plan.config.step_scheduler.global_batch_size >= plan.gpus


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.command)
def test_a_command_says_what_was_planned(plan: Plan, tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text(yaml.safe_dump(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))))
    words = shlex.split(plan.command)
    launched, own = words[: words.index("train")], words[words.index("train") + 2 :]
    gpus = 1
    if launched[0] == "torchrun":
        values = dict(word.lstrip("-").split("=") for word in launched if "=" in word)
        gpus = int(values["nnodes"]) * int(values["nproc-per-node"])
    if own[0] == "--nproc-per-node":
        gpus, own = int(own[1]), own[2:]
    assert gpus == plan.gpus
    planned = plan.config.resolved()
    assert {**load_config(mine, own).resolved(), "output_dir": planned["output_dir"]} == planned
