"""The thread that ends a worker in which nothing moves."""

import threading

from workers.watchdog import Watchdog


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
