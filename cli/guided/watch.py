"""The progress of a search and its pool: stage, trial, epoch, losses, remaining time."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from api import schemas
from api.client import Client
from cli.bars import pool_share
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.trial import CONTROL_ROLES, Finish, TrialRole
from searchd.messages.reports import Progress
from searchd.spec import SearchSpec

POLL_S = 1.0
PLAIN_INTERVAL_S = 15.0
"""Seconds between two reports if the output is not a terminal."""

Condition = Callable[[schemas.SearchDetails, list[schemas.Trial]], bool]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The responses of the service at one moment."""

    search: schemas.SearchDetails
    pool: schemas.PoolDetails
    trials: list[schemas.Trial]


def watch(
    client: Client,
    console: Console,
    search_id: str,
    *,
    tick: Callable[[], object],
    until: Condition,
) -> None:
    """Show progress until the condition holds, and call `tick` once per second.

    On a terminal, a block is redrawn every second. Otherwise a line is printed for each trial that
    ended, and a line about the progress from time to time.
    """
    announced: set[str] = {t.id for t in client.trials(search_id) if t.finished_at}
    printed_at = time.monotonic()
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            tick()
            now = _snapshot(client, search_id)
            for trial in now.trials:
                if trial.finished_at and trial.id not in announced:
                    announced.add(trial.id)
                    console.print(_ended(trial))
            if until(now.search, now.trials):
                return
            if console.is_terminal:
                live.update(_block(now))
            elif time.monotonic() - printed_at >= PLAIN_INTERVAL_S:
                printed_at = time.monotonic()
                line = "   " + "; ".join(each.plain for each in _lines(now))
                console.print(line, soft_wrap=True)
            time.sleep(POLL_S)


def _snapshot(client: Client, search_id: str) -> Snapshot:
    search = client.get_search(search_id)
    assert search.pool_id is not None  # the demo's search has a pool
    return Snapshot(search, client.get_pool(search.pool_id), list(client.trials(search_id)))


def _block(now: Snapshot) -> RenderableType:
    return Group(*(Text("   ") + line for line in _lines(now)))


def _lines(now: Snapshot) -> list[Text]:
    lines = []
    if now.pool.finished_at is None:
        lines.append(_pool_line(now.pool))
    running = [trial for trial in now.trials if trial.status is TrialStatus.RUNNING]
    lines += [_trial_line(trial) for trial in running]
    left = seconds_left(now)
    done = sum(t.finished_at is not None and t.role is TrialRole.SEARCH for t in now.trials)
    state = f"search {now.search.status}: {done}/{now.search.spec.budget.max_trials} trials done"
    finishing = [t for t in now.trials if t.role is TrialRole.FINISH]
    if finishing:
        finished = sum(t.finished_at is not None for t in finishing)
        state += f", {finished} of {len(finishing)} begun detectors finished"
    if now.search.best_score is not None:
        state += f", best score {100 * now.search.best_score:.1f}"
    if left is not None:
        state += f", about {_duration(left)} remaining"
    return [*lines, Text(state, style="bold")]


def _pool_line(pool: schemas.PoolDetails) -> Text:
    if pool.progress is None:
        return Text(f"pool {pool.status}: {pool.status_reason}")
    at = pool.progress
    return Text(
        f"pool {at.phase}: epoch {at.epoch}/{at.num_epochs}, "
        f"{at.iteration}/{at.num_iterations}{_losses(at.losses)}"
    )


def _trial_line(trial: schemas.Trial) -> Text:
    at = trial.progress
    if at is None:
        return Text(f"{_name(trial)}: starting")
    where = f"epoch {at.epoch}/{at.num_epochs}, {at.iteration}/{at.num_iterations}"
    stage = where if at.stage == "train" else at.stage
    return Text(f"{_name(trial)}: {stage}{_losses(at.losses)}")


def _name(trial: schemas.Trial) -> str:
    parent = (trial.parent_id or "").removeprefix(trial.search_id + "-")
    if trial.role is TrialRole.FINISH:
        return f"{trial.name} (of trial {parent})"
    if trial.role is not TrialRole.SEARCH:
        return trial.name
    return f"trial {trial.name} ({parent} + {trial.change})"


def _losses(losses: dict[str, float]) -> str:
    """The sum of the losses, and the distillation terms if there are any."""
    if not losses:
        return ""
    shown = {name: value for name, value in losses.items() if not name.startswith("loss_")}
    return ", " + " ".join(f"{name} {value:.3f}" for name, value in sorted(shown.items()))


def _ended(trial: schemas.Trial) -> str:
    if trial.best is None:
        return f"   {_name(trial)}: {trial.status}: {trial.status_reason.splitlines()[-1]}"
    best = trial.best
    return (
        f"   {_name(trial)}: AP {100 * best.ap:.1f} at {best.resolution}, "
        f"{best.macs / 1e6:.0f} M MACs, score {100 * (best.score or 0):.1f}"
    )


def seconds_left(now: Snapshot) -> float | None:
    """Estimate the remaining time in seconds from the durations so far; None without any."""
    preparing = [_pool_left(now.pool), _base_left(now.trials)]
    trial_s = _seconds_per_trial(now)
    if trial_s is None or None in preparing:
        return None
    spec = now.search.spec
    done = sum(t.finished_at is not None and t.role is TrialRole.SEARCH for t in now.trials)
    open_trials = max(0, spec.budget.max_trials - done) / spec.resources.trials_in_flight
    return max(left for left in preparing if left is not None) + trial_s * (
        open_trials + _open_finish(now) + _open_controls(now)
    )


def _open_finish(now: Snapshot) -> float:
    """The finishing trainings that are left, in trials one after another."""
    spec = now.search.spec
    if spec.budget.finish is None:
        return 0.0
    if any(t.role in CONTROL_ROLES for t in now.trials):  # they come last
        return 0.0
    ended = sum(t.finished_at is not None and t.role is TrialRole.FINISH for t in now.trials)
    left = max(0, spec.budget.finish.detectors - ended)
    return math.ceil(left / spec.resources.trials_in_flight) * _trials_per_finish(spec)


def _open_controls(now: Snapshot) -> float:
    """The controls that are left, in trials one after another."""
    spec = now.search.spec
    chains = spec.controls.equal_length + spec.controls.equal_macs
    controls = [t for t in now.trials if t.role in CONTROL_ROLES]
    # The length of the control is known only at the end; a lineage of three is usual.
    trained = [t for t in controls if not _finishes(t)]
    open_trials = sum(t.finished_at is None for t in trained) if controls else 3 * chains
    if spec.budget.finish is None:
        return open_trials
    finished = sum(t.finished_at is not None and _finishes(t) for t in controls)
    return open_trials + (chains - finished) * _trials_per_finish(spec)


def _trials_per_finish(spec: SearchSpec) -> float:
    """The length of a finishing training in trials."""
    finish = spec.budget.finish
    return 0.0 if finish is None else finish.epochs / spec.trial.epochs


def _finishes(trial: schemas.Trial) -> bool:
    return isinstance(trial.proposal.change, Finish)


def _pool_left(pool: schemas.PoolDetails) -> float | None:
    if pool.finished_at is not None or pool.spec.source is not None:  # an import takes seconds
        return 0.0
    if pool.progress is None or pool.started_at is None:
        return None
    return _remaining(_age(pool.started_at.timestamp()), pool_share(pool.spec, pool.progress))


def _base_left(trials: list[schemas.Trial]) -> float | None:
    base = next((t for t in trials if t.role is TrialRole.BASE), None)
    if base is None or base.started_at is None:
        return None
    if base.finished_at is not None:
        return 0.0
    done = _fraction(base.progress)
    return None if done is None else _remaining(_age(base.started_at.timestamp()), done)


def _seconds_per_trial(now: Snapshot) -> float | None:
    """The mean duration of finished trials; before there are any, an estimate from the base."""
    done = [
        (t.finished_at - t.started_at).total_seconds()
        for t in now.trials
        if t.role is not TrialRole.BASE and t.started_at and t.finished_at and not _finishes(t)
    ]
    if done:
        return sum(done) / len(done)
    base = next((t for t in now.trials if t.role is TrialRole.BASE), None)
    fraction = _fraction(base.progress) if base else None
    if base is None or base.started_at is None or now.search.spec.base.is_loaded:
        return None
    whole = fraction if base.finished_at is None else 1.0
    if not whole:
        return None
    end = time.time() if base.finished_at is None else base.finished_at.timestamp()
    spec = now.search.spec
    epoch_s = (end - base.started_at.timestamp()) / (whole * spec.base.training.epochs)
    # A distilled step costs about twice a plain one: the teacher runs too.
    return 2 * epoch_s * spec.trial.epochs


def _fraction(progress: Progress | None) -> float | None:
    if progress is None or progress.num_iterations == 0:
        return None
    done = progress.epoch - 1 + progress.iteration / progress.num_iterations
    return done / progress.num_epochs


def _remaining(elapsed_s: float, fraction: float) -> float | None:
    return None if fraction <= 0 else elapsed_s * (1 - fraction) / fraction


def _age(started: float) -> float:
    return time.time() - started


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def stage_table(durations_s: dict[str, float]) -> Table:
    """The duration of each stage."""
    table = Table(title="Duration of each stage")
    table.add_column("stage")
    table.add_column("duration", justify="right")
    for name, seconds in durations_s.items():
        table.add_row(name, _duration(seconds))
    table.add_row("total", _duration(sum(durations_s.values())), style="bold")
    return table
