"""Records a run as offline runs of Weights & Biases, one for each trial.

Nothing is sent anywhere, and no key is needed: `wandb sync FOLDER` uploads them, when and from
where a user wants.
"""

from typing import Any

from searchd.driver.sinks.base import (
    RunFacts,
    facts_of,
    links_of,
    local_files,
    losses_of,
    package,
    results_of,
)
from searchd.messages.reports import Progress
from searchd.settings import Settings
from searchd.store.models import TrialRow


class WandbSink:
    """A `Sink` that writes the files of offline runs when trials end."""

    def __init__(self, run: RunFacts, settings: Settings) -> None:
        self._wandb: Any = package("wandb", "wandb")
        self._run = run
        self._project = settings.wandb_project
        self._folder = settings.sink_root / "wandb"
        self._max_mb = settings.sink_max_mb

    def progress(self, progress: Progress) -> None:
        """Do nothing: an offline run can be uploaded once it has ended."""

    def ended(self, trial: TrialRow) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._wandb.init(
            project=self._project,
            id=f"{trial.id}-{trial.attempt}",
            name=f"{self._run.name} {trial.name}",
            group=f"{self._run.name} {self._run.id}",
            dir=str(self._folder),
            mode="offline",
            config=facts_of(trial),
            reinit="create_new",
            settings=self._wandb.Settings(
                console="off", disable_git=True, save_code=False, silent=True
            ),
        ) as record:
            for epoch, losses in losses_of(trial):
                record.log(losses, step=epoch)
            record.summary.update(results_of(trial))
            self._add_files(record, trial)

    def close(self) -> None:
        """Do nothing: each run was closed when its trial had ended."""

    def _add_files(self, record: Any, trial: TrialRow) -> None:
        with local_files(trial, self._max_mb) as files:
            metadata = {"files": links_of(trial)}
            artifact = self._wandb.Artifact(trial.id, type="trial", metadata=metadata)
            for file in files:
                artifact.add_file(str(file), policy="mutable")
            record.log_artifact(artifact)
            record.finish()  # before the copies are removed
