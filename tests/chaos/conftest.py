"""Prints the recovery times of the fault matrix at the end of the test run."""

import logging

import pytest

from tests.chaos.recovery import RECOVERIES

logging.getLogger("httpx").setLevel(logging.WARNING)
"""Tests call the API several times per second, and httpx logs every call."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not RECOVERIES:
        return
    terminalreporter.section("recovery times")
    for one in RECOVERIES:
        terminalreporter.write_line(
            f"{one.took_s:6.1f} s (at most {one.bound_s:3.0f} s)  {one.fault}: {one.until}"
        )
