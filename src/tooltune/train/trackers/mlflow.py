"""MLflow: the server or folder that `MLFLOW_TRACKING_URI` names.

https://mlflow.org/docs/latest/api_reference/python_api/mlflow.client.html
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from tooltune.train.trackers.flatten import flat_config
from tooltune.train.trackers.protocol import EVERYTHING, NOTHING, RunFacts, Started, Status

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_PARAMS = 100  # in one request, and so many characters in one of them: MLflow's own limits
_PARAM_CHARACTERS = 6000


class MLflow:
    """Uses the client alone, never the process-wide "active run", which may be somebody else's.

    Parameters of MLflow cannot be changed: a resumed run adds those that are new.
    """

    def start(self, run: RunFacts) -> Started:
        # Its own patience (seven tries of two minutes) would hold up the next record's retry.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._client = Metric, MlflowClient()
        earlier = self._continued(run.state.get("run_id"))
        known = {} if earlier is None else earlier.data.params
        found = earlier or self._client.create_run(self._experiment(run.project), run_name=run.name)
        self._id: str = found.info.run_id
        params = [
            Param(key, value[:_PARAM_CHARACTERS])
            for key, value in flat_config(run.config).items()
            if key not in known
        ]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(self._id, params=params[start : start + _PARAMS])
        where = f"run {self._id} of experiment {run.project!r} at {self._client.tracking_uri}"
        return Started(where, {"run_id": self._id}, NOTHING if earlier is None else EVERYTHING)

    def _continued(self, run_id: str | None) -> Any:
        """The run of an earlier start, running again; None where there is none (any more)."""
        from mlflow.exceptions import MlflowException

        if run_id is None:
            return None
        try:
            found = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if found.info.lifecycle_stage != "active":
            return None
        self._client.update_run(run_id, status="RUNNING")
        return found

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def finish(self, status: Status) -> None:
        self._client.set_terminated(self._id, _STATUS[status])
