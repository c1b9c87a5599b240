"""`srun` as a launcher: the variables that Slurm gives each task, said in torchrun's words.

https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FIRST_PORT, _PORTS = 20000, 20000
_HOSTS = re.compile(r"([^,\[\]]*)(?:\[([^\]]*)\])?([^,\[\]]*)")


def torchrun_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """`RANK`, `WORLD_SIZE`, … of a task that `srun` started as one of several; else nothing.

    What is set already stays: torchrun under srun has said it all. A batch script has Slurm's
    variables too, but is no task of a step, and trains alone.
    """
    size = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "WORLD_SIZE" in environment or size == "1" or "SLURM_PROCID" not in environment:
        return {}
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    job = int(environment.get("SLURM_JOB_ID", "0"))
    step = int(environment.get("SLURM_STEP_ID", "0"))
    found = {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": size,
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": first_host(hosts) or "localhost",
        # The same on every task, and another one for each step of each job of a machine.
        "MASTER_PORT": str(_FIRST_PORT + (job * 7 + step) % _PORTS),
    }
    return {name: value for name, value in found.items() if name not in environment}


def first_host(hosts: str) -> str:
    """The first of `gpu[007-012,020],login`: `gpu007`."""
    match = _HOSTS.match(hosts)
    if match is None:
        return ""
    before, numbers, after = match.groups()
    first = re.split("[,-]", numbers, maxsplit=1)[0] if numbers else ""
    return f"{before}{first}{after}"
