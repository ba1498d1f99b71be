"""Records a run on a tracking server of MLflow: an experiment, with a run of MLflow for each trial.

Credentials are those of MLflow's own environment variables, such as MLFLOW_TRACKING_TOKEN.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from searchd.domain.lifecycle import TrialStatus
from searchd.driver.sinks.base import (
    RunFacts,
    facts_of,
    links_of,
    local_files,
    losses_of,
    package,
    results_of,
    step_of,
)
from searchd.messages.reports import Progress
from searchd.settings import Settings
from searchd.store.models import TrialRow

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""A server that is gone is noticed within a minute, not after MLflow's seven retries. What a user
has set in the environment is left as it is."""
_TRIAL = "searchd.trial"
"""Tag by which the run of a trial is found again."""
_BATCH = 1000
"""Largest number of metrics of one request."""
_STATUSES = {TrialStatus.FAILED: "FAILED", TrialStatus.CANCELLED: "KILLED"}


class MlflowSink:
    """A `Sink` on a tracking server."""

    def __init__(self, run: RunFacts, settings: Settings) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        self._entities = package("mlflow.entities", "mlflow")
        uri = settings.mlflow_tracking_uri.get_secret_value()
        self._client = package("mlflow", "mlflow").MlflowClient(tracking_uri=uri)
        self._max_mb = settings.sink_max_mb
        self._experiment_id = self._experiment(run)
        self._run_ids: dict[str, str] = {}

    def progress(self, progress: Progress) -> None:
        losses = {f"live/{name}": value for name, value in progress.losses.items()}
        if losses:
            self._log(self._run_id(progress.trial), losses, step_of(progress))

    def ended(self, trial: TrialRow) -> None:
        run_id = self._run_id(trial.name)
        for epoch, losses in losses_of(trial):
            self._log(run_id, losses, epoch)
        self._log(run_id, results_of(trial), 0)
        for name, value in facts_of(trial).items():
            self._client.set_tag(run_id, f"searchd.{name}", value)
        self._client.log_dict(run_id, {"files": links_of(trial)}, "files.json")
        with local_files(trial, self._max_mb) as files:
            for file in files:
                self._client.log_artifact(run_id, str(file))
        self._client.set_terminated(run_id, _STATUSES.get(trial.status, "FINISHED"))

    def close(self) -> None:
        """Do nothing: nothing is buffered."""

    def _experiment(self, run: RunFacts) -> str:
        name = f"{run.name} {run.id}"
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        tags = {"searchd.id": run.id, "searchd.kind": run.kind}
        return str(self._client.create_experiment(name, tags=tags))

    def _run_id(self, trial: str) -> str:
        """Return the run of a trial, which an earlier driver may have begun."""
        if trial not in self._run_ids:
            wanted = f"tags.`{_TRIAL}` = '{trial}'"
            found = self._client.search_runs([self._experiment_id], wanted, max_results=1)
            tags = {_TRIAL: trial}
            run: Any = (
                found[0]
                if found
                else self._client.create_run(self._experiment_id, tags=tags, run_name=trial)
            )
            self._run_ids[trial] = str(run.info.run_id)
        return self._run_ids[trial]

    def _log(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        at_ms = int(1000 * time.time())
        metrics = [self._entities.Metric(n, value, at_ms, step) for n, value in values.items()]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
