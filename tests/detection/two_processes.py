"""Runs a function in two data-parallel processes."""

import multiprocessing
from collections.abc import Callable
from typing import Any

from torch.multiprocessing.spawn import start_processes

# The two are forked from a server that has imported torch and mmdet once for all tests.
multiprocessing.set_forkserver_preload(["detection.training"])


def run_in_two_processes(function: Callable[..., None], *arguments: Any) -> None:
    """Call `function(rank, *arguments)` in a process for each rank, 0 and 1, and wait for both.

    Raises:
        ProcessRaisedException: If one of them fails.
    """
    start_processes(function, args=arguments, nprocs=2, start_method="forkserver")
