"""The thread that ends a worker that makes no progress."""

import subprocess
import sys
import threading

import pytest

from workers.trial.watchdog import EXIT_HUNG, Watchdog

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

_HANGS = """
import time
from workers.trial.watchdog import Watchdog
with Watchdog(0.1).watching():
    time.sleep(60)
"""


def test_stretch_that_lasts_too_long_ends_the_process() -> None:
    hung = threading.Event()
    watchdog = Watchdog(0.02, on_hang=hung.set)

    with watchdog.watching():
        assert hung.wait(10)


def test_silence_between_stretches_is_no_hang() -> None:
    hung = threading.Event()
    watchdog = Watchdog(0.02, on_hang=hung.set)
    with watchdog.watching():
        pass

    assert not hung.wait(0.1)
    watchdog.close()


def test_process_that_hangs_ends_itself_and_says_where_it_hung() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == EXIT_HUNG
    assert 'File "<string>", line 5 in <module>' in ended.stderr
