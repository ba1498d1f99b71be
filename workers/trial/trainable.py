"""The Ray Tune trainable: a thin adapter around trial steps, one time slice per Tune step.

A worker process runs one trial after another and keeps data set and supernet loaded between them.
This module does not import torch: the configuration names the module that runs trials.
"""

import importlib
import logging
import time
import traceback
from collections.abc import Generator
from typing import Any

from ray import tune
from ray.util.metrics import Counter, Gauge
from typing_extensions import override

from searchd import artifacts, logs
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Outcome
from searchd.messages.codecs import PROGRESS, REPORT
from searchd.messages.files import LOG_FILE
from searchd.messages.reports import Progress, Report
from searchd.messages.tasks import TrialTask
from workers.trial.trial_log import TrialLog
from workers.trial.watchdog import Watchdog

log = logging.getLogger(__name__)

Steps = Generator[Progress, bool, Report]


class TrialTrainable(tune.Trainable):
    """Runs `TrialTask`s.

    Configuration: `task` (JSON of the `TrialTask`), `module` (its `TrialContext` and `trial_steps`
    do the work), `stop` (URI of a file; while it exists, trials stop at the end of their slice),
    `silence_s` (see `Watchdog`), `cpus` and `gpus` (the resources of a trial).

    The result of a step is either that of a slice, {"final": False, "progress": JSON}, or the last,
    {"final": True, "report": JSON, "done": True}. A failure is a report too: an exception would end
    the warm process, and Tune would not pass on its cause.
    """

    @classmethod
    @override
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])

    @override
    def setup(self, config: dict[str, Any]) -> None:
        self._trial_log = TrialLog()
        self._context: Any = None
        self._progress: Progress | None = None
        self._metrics = _Metrics()
        self._watchdog = Watchdog(config["silence_s"])
        self._begin(config)

    @override
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    @override
    def step(self) -> dict[str, Any]:
        with self._watchdog.watching():
            try:
                progress = self._next_slice()
            except StopIteration as end:
                return self._final_result(end.value)
            except Exception as error:  # keeps the worker process alive
                log.exception("%s", self._trial)
                return self._final_result(self._failed_report(error))
        self._trial_log.note(progress)
        self._trial_log.store()
        self._progress = progress
        self._metrics.show(self._task, progress)
        return {"final": False, "progress": PROGRESS.dump_json(progress).decode()}

    @override
    def cleanup(self) -> None:
        self._watchdog.close()
        self._trial_log.close()

    def __repr__(self) -> str:
        """Return the name that Ray shows in logs and errors.

        Ray's dashboard keeps the name from when the process started, so the trial is named only
        once it runs.
        """
        if self._progress is None:
            return f"search {self._task.search}"
        return f"{self._trial} epoch {self._progress.epoch}"

    def _begin(self, config: dict[str, Any]) -> None:
        self._module: str = config["module"]
        self._stop: str = config["stop"]
        self._task = TrialTask.model_validate_json(config["task"])
        logs.follow(self._task.log_format, self._task.log_ids | {"trial": self._task.proposal.name})
        self._trial_log.begin(artifacts.join(self._task.artifacts, LOG_FILE))
        self._steps: Steps | None = None
        self._progress = None

    def _next_slice(self) -> Progress:
        """Run the trial for one slice.

        Raises:
            StopIteration: The trial has ended; its value is the report.
        """
        if self._steps is not None:
            return self._steps.send(not artifacts.exists(self._stop))
        module = importlib.import_module(self._module)
        if self._context is None:
            self._context = module.TrialContext()
        log.info("%s: attempt %d", self._trial, self._task.attempt)
        self._steps = module.trial_steps(self._task, self._context)
        return next(self._steps)

    def _failed_report(self, error: Exception) -> Report:
        refusal = artifacts.refusal(error)  # the report was refused; another attempt may succeed
        return Report(
            trial=self._task.proposal.name,
            attempt=self._task.attempt,
            outcome=Outcome.FAILED,
            cause=FailureCause.STORE_REFUSED if refusal else FailureCause.BUG,
            reason=refusal or "".join(traceback.format_exception(error)),
        )

    def _final_result(self, report: Report) -> dict[str, Any]:
        log.info("%s: %s %s", self._trial, report.outcome, report.reason)
        self._trial_log.store()
        self._metrics.count(self._task, report)
        return {"final": True, "done": True, "report": REPORT.dump_json(report).decode()}

    @property
    def _trial(self) -> str:
        return f"search {self._task.search} trial {self._task.proposal.name}"


class _Metrics:
    """Metrics that Ray's dashboard shows when Prometheus is attached."""

    def __init__(self) -> None:
        trial_tags = ("search", "trial")
        self._epoch = Gauge(
            "searchd_epoch", "Current epoch of the trial, from 1.", tag_keys=trial_tags
        )
        self._loss = Gauge(
            "searchd_loss", "Mean of a loss over the current epoch.", tag_keys=(*trial_tags, "loss")
        )
        self._speed = Gauge(
            "searchd_iterations_per_second", "Training iterations per second.", tag_keys=trial_tags
        )
        self._ap = Gauge(
            "searchd_ap",
            "COCO box AP of the student, in [0, 1].",
            tag_keys=(*trial_tags, "resolution"),
        )
        self._trials = Counter(
            "searchd_trials_done", "Number of trials that ended.", tag_keys=("search", "outcome")
        )
        self._last: tuple[float, Progress] | None = None

    def show(self, task: TrialTask, progress: Progress) -> None:
        tags = _tags(task)
        self._epoch.set(progress.epoch, tags)
        for name, value in progress.losses.items():
            self._loss.set(value, {**tags, "loss": name})
        now = time.monotonic()
        if self._last is not None:
            before, last = self._last
            same_epoch = (last.trial, last.epoch) == (progress.trial, progress.epoch)
            if same_epoch and now > before and progress.stage == last.stage == "train":
                self._speed.set((progress.iteration - last.iteration) / (now - before), tags)
        self._last = (now, progress)

    def count(self, task: TrialTask, report: Report) -> None:
        self._trials.inc(1, {"search": task.search, "outcome": report.outcome.value})
        for evaluation in report.evaluations:
            tags = {**_tags(task), "resolution": str(evaluation.resolution)}
            self._ap.set(evaluation.ap, tags)


def _tags(task: TrialTask) -> dict[str, str]:
    return {"search": task.search, "trial": task.proposal.name}
