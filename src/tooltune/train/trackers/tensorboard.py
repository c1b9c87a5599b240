"""TensorBoard: event files in the run's folder.

https://docs.pytorch.org/docs/stable/tensorboard.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.config.yamlfile import dump_yaml
from tooltune.train.trackers.protocol import NOTHING, RunFacts, Started, Status


class TensorBoard:
    """A start hides what earlier starts wrote after the checkpoint (`purge_step`)."""

    def start(self, run: RunFacts) -> Started:
        from torch.utils.tensorboard import SummaryWriter

        kept = -1 if run.resumed_from_step is None else run.resumed_from_step
        self._writer: Any = SummaryWriter(str(run.directory), purge_step=kept + 1)
        text = dump_yaml(dict(run.config))
        code = "".join(f"    {line}\n" for line in text.splitlines())  # markdown: as it stands
        self._writer.add_text("config", code, kept + 1)
        self._writer.flush()
        return Started(f"tensorboard --logdir {run.directory}", {}, NOTHING if kept < 0 else kept)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a killed process leaves what it measured

    def finish(self, status: Status) -> None:
        self._writer.close()
