from __future__ import annotations

import pytest

from tooltune.train.parallel.slurm import first_host, torchrun_variables

TASK = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[007-008]",
}


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu[007-012,020],login", "gpu007"),
        ("gpu[3,5-6]", "gpu3"),
        ("rack[1-2]-ib,other", "rack1-ib"),
        ("n-1.cluster.org", "n-1.cluster.org"),
        ("", ""),
    ],
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_a_task_of_srun_is_a_rank() -> None:
    found = torchrun_variables(TASK)
    port = int(found.pop("MASTER_PORT"))
    assert found == {
        "RANK": "9",
        "WORLD_SIZE": "16",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu007",
    }
    assert 1024 < port < 65536


def test_all_tasks_of_a_step_meet_at_one_port_and_other_steps_elsewhere() -> None:
    port = torchrun_variables(TASK)["MASTER_PORT"]
    assert torchrun_variables(TASK | {"SLURM_PROCID": "3"})["MASTER_PORT"] == port
    assert torchrun_variables(TASK | {"SLURM_STEP_ID": "1"})["MASTER_PORT"] != port


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # a batch script
        TASK | {"SLURM_STEP_NUM_TASKS": "1"},
        TASK | {"WORLD_SIZE": "2", "RANK": "0"},  # torchrun under srun
    ],
)
def test_whoever_is_no_task_of_several_trains_alone(environment: dict[str, str]) -> None:
    assert torchrun_variables(environment) == {}


def test_what_the_user_set_stays() -> None:
    found = torchrun_variables(TASK | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"})
    assert "MASTER_ADDR" not in found
    assert "MASTER_PORT" not in found
