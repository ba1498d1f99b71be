"""A coordinator whose wall clock a test changes, while the clock of the machine is not changed.

`python -m tests.chaos.stepped_coordinator FILE`: the file contains the seconds to add to the clock.
"""

import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

from searchd import settings
from searchd.coordinator.jobs import RayJobs
from searchd.coordinator.loop import Coordinator, _loop
from searchd.store import Database
from searchd.store.base import now


def main(ahead: Path) -> None:
    """Run the coordinator's loop until the process is killed."""
    values = settings.load()

    def clock() -> datetime:
        return now() + timedelta(seconds=float(ahead.read_text()))

    coordinator = Coordinator(
        Database(values.database),
        RayJobs(values.ray_dashboard_url),
        lease_s=values.lease_s,
        max_running_searches=values.max_running_searches,
        max_attempts=values.max_attempts,
        clock=clock,
    )
    _loop(coordinator, threading.Event(), values.poll_s)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
