"""The scripts of docs/trainer.md run as they stand, on a tiny model and a few traces."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.assets import REPOSITORY
from tests.integrations.runs import tiny_files

SCRIPTS = re.findall(
    r"```python\n(.*?)```", (REPOSITORY / "docs" / "trainer.md").read_text(encoding="utf-8"), re.S
)
SMALLER = {
    '"Qwen/Qwen2.5-0.5B-Instruct", "train.jsonl", "held_out.jsonl"': (
        '"model", "traces.jsonl", "traces.jsonl"'
    ),
    "num_train_epochs=3": "num_train_epochs=1, max_steps=1, use_cpu=True, report_to='none'",
    "eval_steps=50": "eval_steps=1",
}
ALSO = {"save_steps=50": "save_steps=1", "max_new_tokens=256": "max_new_tokens=4"}


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], TORCHRUN], ids=["alone", "torchrun"])
@pytest.mark.parametrize("script", SCRIPTS, ids=["trainer", "trl"])
def test_the_script_runs_and_its_scores_are_logged(
    script: str, launcher: list[str], tmp_path: Path, builtin_tokenizer: Any
) -> None:
    tiny_files(tmp_path, builtin_tokenizer)
    for theirs, ours in SMALLER.items():
        assert theirs in script
        script = script.replace(theirs, ours)
    for theirs, ours in ALSO.items():
        script = script.replace(theirs, ours)
    script += (
        "\nimport json\n"
        "print('SCORED', json.dumps([e['step'] for e in trainer.state.log_history\n"
        "    if 'eval_tool_call/accuracy' in e]))\n"
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, *launcher, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    said = [json.loads(line) for line in re.findall(r"SCORED (.*)", done.stdout)]
    assert len(said) == (2 if launcher else 1)
    assert all(steps[:2] == [0, 1] for steps in said)


def test_there_is_a_script_for_each_trainer() -> None:
    assert len(SCRIPTS) == 2
    assert "Trainer(" in SCRIPTS[0]
    assert "SFTTrainer(" in SCRIPTS[1]
