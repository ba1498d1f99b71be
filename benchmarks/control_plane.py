"""What the control plane needs for one trial, and whether that grows with the search.

    python -m benchmarks.control_plane [--trials 2000] [--database sqlite]

A trial is proposed, ordered, started and recorded with four evaluations, by the real driver's
scheduler and ledger, without Ray and without training. In the same run, in turns because the speed
of the machine drifts, Optuna's storage in the same kind of database asks for and tells trials with
five parameters and three objectives, and bare transactions that change one row are committed, as
many as a trial of the search needs. Prints JSON; ratios count, not times.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import psycopg
from sqlalchemy import event

from benchmarks.scale import stage
from searchd.driver.tune import TrialScheduler
from searchd.store import Database

PARAMETERS, OBJECTIVES = 5, 3
OPTUNA_SHARE, WINDOWS = 0.05, 10
"""Optuna's trials per trial of the search, since they take longer; the number of windows of the run
that are compared, at least, and of turns."""
WINDOW = 1000
"""Largest number of trials of a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What was measured on one database."""

    trials: int
    per_s: float
    """Trials of the search in a second."""
    last_over_first: float
    """Time of the last window of trials over that of the first one."""
    commits: float
    """Commits for each trial."""
    statements: float
    """SQL statements for each trial."""
    over_optuna: float
    """Trials in a second over those of Optuna's storage."""
    over_floor: float
    """Trials in a second over those whose bare commits alone could be made."""


class Trials:
    """Runs trials of a search, one at a time."""

    def __init__(self, database: Database, folder: Path, num_trials: int) -> None:
        self.ledger = stage.ledger_of(database, folder, stage.spec(num_trials))
        self._scheduler = TrialScheduler(
            self.ledger, again=(), is_stopping=lambda: False, may_search=lambda: True
        )

    def run(self, number: int) -> None:
        """Run one trial from its proposal to its record."""
        tune_id = f"t{number}"
        task = self._scheduler.next(tune_id)
        assert task is not None  # the budget is large enough
        self._scheduler.started(tune_id)
        self._scheduler.reported(tune_id, stage.report_of(task))


def measure(backend: str, num_trials: int) -> Rates:
    """Run the search and its peers in turns on one kind of database."""
    window = min(WINDOW, max(1, num_trials // WINDOWS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stage.opened(backend, folder) as database, _bare(folder, database) as commit:
            trials = Trials(database, folder, num_trials)
            ask_and_tell = _optuna(backend, folder, database)
            trials.run(0)  # the base
            counted = _Counter(database)
            times, optuna_s, floor_s = [], [], []
            for start in range(1, num_trials + 1, window):
                numbers = range(start, min(start + window, num_trials + 1))
                times.append(_timed(trials.run, numbers) / len(numbers))
                few = range(max(1, round(OPTUNA_SHARE * len(numbers))))
                optuna_s.append(_timed(ask_and_tell, few) / len(few))
                floor_s.append(_timed(commit, few) / len(few))
    seconds = sum(times) / len(times)
    commits = counted.commits / num_trials
    return Rates(
        trials=num_trials,
        per_s=1 / seconds,
        last_over_first=times[-1] / times[0],
        commits=commits,
        statements=counted.statements / num_trials,
        over_optuna=sum(optuna_s) / len(optuna_s) / seconds,
        over_floor=commits * sum(floor_s) / len(floor_s) / seconds,
    )


class _Counter:
    """Counts the statements and the commits that reach a database."""

    def __init__(self, database: Database) -> None:
        self.statements = self.commits = 0
        event.listen(database.engine, "before_cursor_execute", self._statement)
        event.listen(database.engine, "commit", self._commit)

    def _statement(self, *_: object) -> None:
        self.statements += 1

    def _commit(self, _connection: object) -> None:
        self.commits += 1


def _timed(step: Callable[[int], None], numbers: range) -> float:
    started = time.perf_counter()
    for number in numbers:
        step(number)
    return time.perf_counter() - started


def _optuna(backend: str, folder: Path, database: Database) -> Callable[[int], None]:
    """Return a function that asks for a trial and tells its values, in a database of its own or,
    with PostgreSQL, of the same server."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{folder / 'optuna.sqlite'}"
    if backend == "postgresql":
        url = database.engine.url.render_as_string(hide_password=False)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA optuna")
        url += "&options=-csearch_path%3Doptuna"
    study = optuna.create_study(
        storage=url,
        directions=["maximize"] * OBJECTIVES,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )

    def step(_: int) -> None:
        trial = study.ask()
        drawn = [trial.suggest_float(f"x{each}", 0.0, 1.0) for each in range(PARAMETERS)]
        study.tell(trial, drawn[:OBJECTIVES])

    return step


@contextmanager
def _bare(folder: Path, database: Database) -> Iterator[Callable[[int], None]]:
    """Yield a function that changes one row and commits, as durably as the store does."""
    url = database.engine.url
    if url.get_backend_name() == "postgresql":
        host, user, name = str(url.query["host"]), url.username, url.database
        with psycopg.connect(host=host, user=user, dbname=name) as connection:
            yield _committing(connection)
        return
    with closing(sqlite3.connect(folder / "floor.sqlite")) as file:
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=FULL")
        yield _committing(file)


def _committing(connection: Any) -> Callable[[int], None]:
    connection.execute("CREATE TABLE counter (n INTEGER)")
    connection.execute("INSERT INTO counter VALUES (0)")
    connection.commit()

    def step(_: int) -> None:
        connection.execute("UPDATE counter SET n = n + 1")
        connection.commit()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.control_plane", description=__doc__)
    add = parser.add_argument
    add("--trials", type=int, default=2000, help="number of trials of the search")
    backends = ["sqlite", "postgresql"]
    add("--database", choices=backends, action="append", help="database to measure; default: both")
    options = parser.parse_args()
    found = {each: measure(each, options.trials) for each in options.database or backends}
    json.dump({each: asdict(rates) for each, rates in found.items()}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
