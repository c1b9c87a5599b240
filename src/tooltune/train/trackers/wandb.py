"""Weights & Biases. `WANDB_MODE=offline` writes files only; `WANDB_ENTITY` and others hold.

https://docs.wandb.ai/ref/python/init
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from tooltune.train.trackers.protocol import EVERYTHING, NOTHING, RunFacts, Started, Status

_FINISH_SECONDS = 20.0
_FLUSH_SECONDS = 1.0  # to its local file; a process that is killed outright loses that much there
# Numbers and the config are sent, and nothing that W&B would gather by itself and nobody has
# scrubbed: the console, the command line, the git remote, code, lists of packages.
_PRIVATE: dict[str, Any] = {
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


class WandB:
    """The run's id is kept, so that a resumed run goes on in the same place.

    W&B takes rows numbered in rising order only, so rows are counted through all starts (which
    also lets `wandb sync` join the files of several). The step is a value of the row, and the axis
    of the others: a validation may still come after a later step of an earlier start.
    """

    def start(self, run: RunFacts) -> Started:
        import wandb

        known = run.state.get("id")
        identity = known or uuid.uuid4().hex[:12]
        run.directory.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            project=run.project,
            name=run.name,
            id=identity,
            dir=str(run.directory),
            config=dict(run.config),
            resume="allow",
            reinit="create_new",  # another run of this process is none of our business
            settings=wandb.Settings(
                **_PRIVATE,
                silent=True,
                allow_val_change=True,
                finish_timeout=_FINISH_SECONDS,
                x_transaction_log_flush_interval=_FLUSH_SECONDS,
            ),
        )
        self._row = run.records
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        later = f"offline; wandb sync {run.directory}/wandb/offline-run-*-{identity}"
        where = later if self._run.offline else str(self._run.url)
        return Started(where, {"id": identity}, EVERYTHING if known else NOTHING)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step}, step=self._row, commit=True)
        self._row += 1

    def finish(self, status: Status) -> None:
        self._run.finish(exit_code=0 if status == "finished" else 1)
