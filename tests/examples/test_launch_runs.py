"""The commands of the launch examples, run as they are: two ranks, pre-empted and resumed."""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples.launching import EXAMPLES, Launched, stand_ins, tiny_yaml, trained_steps
from tooltune.exits import EXIT_PREEMPTED, EXIT_USER_ERROR

pytestmark = pytest.mark.slow
STEPS = 40


# Machines and tasks on each, GPUs of each, and who gets Slurm's signal.
SLURM = {"slurm.sbatch": (1, 2, 2, "srun"), "slurm_torchrun.sbatch": (2, 1, 1, None)}


def slurm(script: str) -> dict[str, str]:
    """The variables of a job of two ranks."""
    nodes, tasks, gpus, _ = SLURM[script]
    return {
        "SLURM_JOB_ID": str(random.randrange(20000)),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "SLURM_GPUS_ON_NODE": str(gpus),
        "SLURM_CPUS_PER_TASK": "1",
    }


def preempt_and_resume(
    command: list[str | Path],
    env: Mapping[str, str],
    folder: Path,
    number: signal.Signals,
    to: str | None = None,
) -> int:
    """Send `number` once steps were trained, run the same again to its end; the first exit code.

    `to`: the process that gets it, if not the command itself.
    """
    run, log = folder / "runs" / "mine", folder / "log"
    with Launched(command, env, folder, log) as first:
        first.until(lambda: len(trained_steps(run)) > 2)
        first.signal(number, to)
        code = first.code()
        stopped = trained_steps(run)
        assert 2 < len(stopped) < STEPS, first.said()
        assert (run / "checkpoints" / "LATEST").is_dir(), first.said()
    with Launched(command, env, folder, log) as second:
        assert second.code() == 0, second.said()
    assert trained_steps(run) == list(range(1, STEPS + 1))
    return code


@pytest.mark.parametrize("script", SLURM)
def test_a_slurm_job_saves_when_warned_goes_back_to_the_queue_and_resumes(
    script: str, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    config = tiny_yaml(tmp_path, builtin_tokenizer, STEPS)
    env = {**stand_ins(tmp_path / "bin"), **slurm(script)}
    command: list[str | Path] = ["bash", EXAMPLES / script, config]
    code = preempt_and_resume(command, env, tmp_path, signal.SIGUSR1, SLURM[script][-1])
    assert code == (1 if "torchrun" in script else EXIT_PREEMPTED)
    requeued = Path(env["REQUEUED"]).read_text().splitlines()
    assert requeued == [f"requeue {env['SLURM_JOB_ID']}"]


@pytest.mark.parametrize("script", SLURM)
def test_a_slurm_job_with_a_mistake_in_its_config_is_not_requeued(
    script: str, tmp_path: Path
) -> None:
    env = {**stand_ins(tmp_path / "bin"), **slurm(script)}
    command = ["bash", EXAMPLES / script, tmp_path / "missing.yaml"]
    with Launched(command, env, tmp_path, tmp_path / "log") as job:
        assert job.code() == (1 if "torchrun" in script else EXIT_USER_ERROR), job.said()
        assert "missing.yaml" in job.said()
    assert not Path(env["REQUEUED"]).exists()


def test_a_pod_that_is_evicted_leaves_with_75_and_the_next_one_goes_on(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    config = tiny_yaml(tmp_path, builtin_tokenizer, STEPS)
    parts = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
    pod = next(part for part in parts if part["kind"] == "Job")["spec"]["template"]["spec"]
    ours = {"/config/my.yaml": str(config), "8": "2"}
    arguments = [ours.get(word, word) for word in pod["containers"][0]["args"]]
    arguments = [word.replace("/data/runs/my-run", "runs/mine") for word in arguments]
    env = stand_ins(tmp_path / "bin")
    code = preempt_and_resume(["tooltune", *arguments], env, tmp_path, signal.SIGTERM)
    assert code == EXIT_PREEMPTED


def test_a_spot_machine_that_is_taken_away_is_followed_by_one_that_goes_on(
    tmp_path: Path, builtin_tokenizer: Any
) -> None:
    config = tiny_yaml(tmp_path, builtin_tokenizer, STEPS)
    task = yaml.safe_load((EXAMPLES / "skypilot.yaml").read_text(encoding="utf-8"))
    script = task["run"]
    assert "sleep 300" in script
    script = script.replace("sleep 300", "sleep 1")
    bucket = tmp_path / "bin" / "buckets" / "mine" / "my-run"
    env = {
        **stand_ins(tmp_path / "bin"),
        **task["envs"],
        "CONFIG": str(config),
        "BUCKET": "mine",
        "SKYPILOT_NUM_GPUS_PER_NODE": "2",
    }
    script = script.replace('"$CONFIG"', '"$CONFIG" --step_scheduler.ckpt_every_steps=5')
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    with Launched(["bash", "-c", script], env, first, tmp_path / "log") as machine:
        machine.until(lambda: (bucket / "checkpoints" / "LATEST" / "manifest.json").is_file())
        machine.kill_all()
    with Launched(["bash", "-c", script], env, second, tmp_path / "log") as machine:
        assert machine.code() == 0, machine.said()
    steps = trained_steps(second / "runs" / "my-run")
    assert steps == list(range(1, STEPS + 1))
    assert trained_steps(bucket) == steps
    assert "resum" in (tmp_path / "log").read_text(encoding="utf-8")
