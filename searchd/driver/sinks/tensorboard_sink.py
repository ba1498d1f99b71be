"""Records a run as event files of TensorBoard, one folder for each trial."""

import json
from pathlib import Path
from typing import Any

from searchd.driver.sinks.base import (
    RunFacts,
    facts_of,
    links_of,
    losses_of,
    package,
    results_of,
    step_of,
)
from searchd.messages.reports import Progress
from searchd.settings import Settings
from searchd.store.models import TrialRow


class TensorboardSink:
    """A `Sink` that writes event files. `tensorboard --logdir FOLDER` shows them, also while trials
    run. Files of trials are listed with their addresses, since TensorBoard stores none."""

    def __init__(self, run: RunFacts, settings: Settings) -> None:
        self._writer_type = package("tensorboardX", "tensorboard").SummaryWriter
        self._folder: Path = settings.sink_root / "tensorboard" / f"{run.name}-{run.id}"
        self._writers: dict[str, Any] = {}

    def progress(self, progress: Progress) -> None:
        writer = self._writer(progress.trial)
        for name, value in progress.losses.items():
            writer.add_scalar(f"live/{name}", value, step_of(progress))
        writer.flush()

    def ended(self, trial: TrialRow) -> None:
        writer = self._writer(trial.name)
        for epoch, losses in losses_of(trial):
            for name, value in losses.items():
                writer.add_scalar(name, value, epoch)
        for name, value in results_of(trial).items():
            writer.add_scalar(f"result/{name}", value, 0)
        writer.add_text("trial", _table(facts_of(trial)), 0)
        writer.add_text("files", f"```\n{json.dumps(links_of(trial), indent=2)}\n```", 0)
        self._writers.pop(trial.name).close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, trial: str) -> Any:
        if trial not in self._writers:
            self._writers[trial] = self._writer_type(logdir=str(self._folder / trial))
        return self._writers[trial]


def _table(facts: dict[str, str]) -> str:
    """Return facts as a table of Markdown, which TensorBoard shows."""
    return "\n".join(["| | |", "|---|---|", *(f"| {n} | {value} |" for n, value in facts.items())])
