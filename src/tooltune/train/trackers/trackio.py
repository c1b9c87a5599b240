"""Trackio: local files (`TRACKIO_DIR`), or the Space or server that its variables name.

https://huggingface.co/docs/trackio
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from tooltune.train.trackers.protocol import EVERYTHING, NOTHING, RunFacts, Started, Status


class Trackio:
    """Trackio resumes by name, so the run's name there ends in a few characters of its own.

    It takes records at once and writes them half a second later: a killed process may lose so
    much of them.
    """

    def start(self, run: RunFacts) -> Started:
        import trackio

        known = run.state.get("name")
        name = known or f"{run.name}-{uuid.uuid4().hex[:6]}"
        self._run: Any = trackio.init(
            project=run.project,
            name=name,
            config=dict(run.config),
            resume="allow" if known else "never",
            embed=False,
        )
        where = f'run {name}; trackio show --project "{run.project}"'
        continued = run.state.get("id") == self._run.id  # not, where somebody deleted it
        state = {"name": name, "id": str(self._run.id)}
        return Started(where, state, EVERYTHING if continued else NOTHING)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, status: Status) -> None:
        self._run.finish()
