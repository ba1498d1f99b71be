"""Live bars of a search, distillation or pool: pool, base and running trials, and time left."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api import schemas
from api.schemas.distillations import DistillationDetails
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.transitions import is_final
from searchd.domain.trial import TrialRole
from searchd.spec import PoolSpec

if TYPE_CHECKING:
    from rich.console import RenderableType

    from api.client import Client

POLL_S = 1.0
_WIDTH = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar."""

    name: str
    done: float
    """Share that is done, in [0, 1]."""
    left_s: float | None
    """Estimated seconds to its end; None if that is not known."""
    text: str
    """What happens now, for example the epoch."""


def can_be_drawn() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def watch(client: "Client", kind: str, name: str) -> None:
    """Draw bars, anew every second, until a resource has ended.

    Args:
        client: Client of the service.
        kind: "search", "distillation" or "pool".
        name: Its name or id.
    """
    from rich.live import Live

    from cli.output import console

    with Live(console=console(), refresh_per_second=4, transient=True) as live:
        while True:
            found: Any = getattr(client, f"get_{kind}")(name)
            if is_final(found.status):
                return
            live.update(drawn([*bars_of(client, found)]))
            time.sleep(POLL_S)


def bars_of(
    client: "Client", found: schemas.SearchDetails | DistillationDetails | schemas.PoolDetails
) -> list[Bar]:
    """Fetch what is going on, and return a bar for each part."""
    if isinstance(found, schemas.PoolDetails):
        return [pool_bar(found)]
    pool = client.get_pool(found.pool_id) if found.pool_id else None
    preparing = [pool_bar(pool)] if pool is not None and not is_final(pool.status) else []
    if isinstance(found, DistillationDetails):
        trials = list(client.distillation_trials(found.id))
        counted = [t for t in trials if t.role is not TrialRole.BASE]
        whole = max(1, len(found.stages))
    else:
        trials = list(client.trials(found.id))
        counted = [t for t in trials if t.role is TrialRole.SEARCH]
        whole = found.spec.budget.max_trials
    return [*preparing, *trial_bars(trials), whole_bar(found.name, found.status, counted, whole)]


def pool_bar(pool: schemas.PoolDetails) -> Bar:
    """Return the bar of a pool's training, over all its phases."""
    at = pool.progress
    if at is None:
        return Bar(f"pool {pool.name}", 0.0, None, pool.status_reason)
    share = pool_share(pool.spec, at)
    left = at.seconds_left if at.seconds_left is not None else _left(pool.started_at, share)
    text = f"{at.phase}: epoch {at.epoch} of {at.num_epochs}"
    return Bar(f"pool {pool.name}", share, left, text if at.stage == "train" else at.stage)


def pool_share(spec: PoolSpec, at: schemas.PoolProgress) -> float:
    """Return the share of a pool's epochs that are trained, over all phases; of an import, the
    share of its subnets that are evaluated."""
    names = [phase.name for phase in spec.phases]
    inside = at.iteration / max(1, at.num_iterations)
    if at.phase not in names:
        return inside
    before = sum(phase.epochs for phase in spec.phases[: names.index(at.phase)])
    # Subnets are measured after the epoch.
    epochs = before + at.epoch - (0 if at.stage == "evaluate" else 1 - inside)
    return min(1.0, max(0.0, epochs / sum(phase.epochs for phase in spec.phases)))


def trial_bars(trials: list[schemas.Trial]) -> Iterator[Bar]:
    """Return the bars of the trials that run."""
    for trial in trials:
        if trial.status is not TrialStatus.RUNNING:
            continue
        at, share = trial.progress, 0.0
        if at is not None and at.num_iterations:
            share = (at.epoch - 1 + at.iteration / at.num_iterations) / at.num_epochs
        name = trial.name if trial.role is TrialRole.BASE else f"trial {trial.name}"
        text = "starting" if at is None else at.stage
        if at is not None and at.stage == "train":
            text = f"epoch {at.epoch} of {at.num_epochs}"
        yield Bar(name, share, _left(trial.started_at, share), text)


def whole_bar(name: str, status: str, trials: list[schemas.Trial], whole: int) -> Bar:
    """Return the bar of all trials.

    Args:
        name: Name of the search or distillation.
        status: Its status.
        trials: Its trials, without base and controls.
        whole: Number of these trials that it has at most.
    """
    ended = [t for t in trials if t.finished_at is not None]
    seconds = [
        (t.finished_at - t.started_at).total_seconds()
        for t in ended
        if t.finished_at is not None and t.started_at is not None
    ]
    left = None
    if seconds:
        at_once = max(1, sum(t.status is TrialStatus.RUNNING for t in trials))
        left = sum(seconds) / len(seconds) * max(0, whole - len(ended)) / at_once
    text = f"{status}: {len(ended)} of {whole} trials"
    return Bar(name, min(1.0, len(ended) / whole), left, text)


def drawn(bars: list[Bar]) -> "RenderableType":
    """Return the bars as a table for a terminal."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for bar in bars:
        shown = ProgressBar(total=1.0, completed=bar.done, width=_WIDTH)
        table.add_row(bar.name, shown, f"{100 * bar.done:3.0f} %", duration(bar.left_s), bar.text)
    return table


def duration(seconds: float | None) -> str:
    """Return a time that is left, such as "1:05:09"; "-:--" if it is not known."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _left(started_at: Any, share: float) -> float | None:
    if started_at is None or share <= 0:
        return None
    return float((time.time() - started_at.timestamp()) * (1 - share) / share)
