"""How long the web page takes to open a search of many trials, by the browser's own clock.

`python -m benchmarks.page_load` fills a new SQLite database, serves it in a process of its own and
opens the page in Chromium several times. Docs: docs/web.md.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from playwright.sync_api import CDPSession, Page, sync_playwright

from benchmarks.filled_search import fill
from cli.child_processes import Child, free_ports
from searchd.store import Database, upgrade

CHROMIUM = "/usr/bin/chromium"
START_S = 60.0
"""Seconds within which the API must be ready."""
_ROOT = Path(__file__).parents[1]
_SHOWN = """async () => {
  const marks = () => performance.getEntriesByName("searchd:trials");
  while (marks().length === 0) await new Promise(requestAnimationFrame);
  return marks()[0].startTime;
}"""
_LONGEST = """async () => {
  let longest = 0;
  const watcher = new PerformanceObserver((list) => {
    for (const task of list.getEntries()) longest = Math.max(longest, task.duration);
  });
  watcher.observe({ entryTypes: ["longtask"] });
  await new Promise((resume) => setTimeout(resume, 1500));
  watcher.disconnect();
  return longest;
}"""


def measure(num_trials: int, opens: int) -> dict[str, Any]:
    """Fill a search, open its page, and use it.

    Returns:
        Milliseconds from navigation until the trials are drawn, of each opening, their median, and
        the CPU time that page and API spent on the last one, by which a shared machine is judged;
        bytes and milliseconds of the request for the trials, number of requests, and the longest
        task of the page while the table is filtered and the plot is pointed at.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'searchd.sqlite'}"
        upgrade(url)
        database = Database(url)
        fill(database, "long", num_trials)
        database.close()
        with _served(url, Path(folder)) as (address, api), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                return _in_browser(browser.new_page(), f"{address}/#/searches/long", api, opens)
            finally:
                browser.close()


def _in_browser(page: Page, address: str, api: psutil.Process, opens: int) -> dict[str, Any]:
    page.set_default_timeout(1000 * START_S)
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
    shown = []
    for _ in range(opens):
        page.goto("about:blank")
        before = _page_s(metrics), _api_s(api)
        page.goto(address)
        page.get_by_role("group", name="Trials").locator("tbody tr").first.wait_for()
        shown.append(float(page.evaluate(_SHOWN)))
        spent = _page_s(metrics) - before[0], _api_s(api) - before[1]
    requests = page.evaluate("performance.getEntriesByType('resource').map((e) => e.toJSON())")
    columns = next(each for each in requests if each["name"].endswith("/columns?since=0"))
    return {
        "shown_ms": shown,
        "median_ms": statistics.median(shown),
        "page_cpu_ms": 1000 * spent[0],
        "api_cpu_ms": 1000 * spent[1],
        "columns_bytes": columns["transferSize"],
        "columns_ms": columns["duration"],
        "api_requests": sum("/api/v1/" in each["name"] for each in requests),
        "longest_task_filter_ms": _longest_task(page, "filter"),
        "longest_task_hover_ms": _longest_task(page, "hover"),
    }


def _page_s(metrics: CDPSession) -> float:
    """Return the CPU seconds that the page's main thread has spent."""
    found = metrics.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in found if each["name"] == "TaskDuration"))


def _api_s(api: psutil.Process) -> float:
    """Return the CPU seconds that the API has spent."""
    times = api.cpu_times()
    return float(times.user + times.system)


def _longest_task(page: Page, what: str) -> float:
    """Return the milliseconds of the longest task while a user types, or moves over the plot."""
    page.evaluate(f"() => {{ window.longest = ({_LONGEST})() }}")
    if what == "filter":
        page.get_by_label("Filter trials").press_sequentially("prune", delay=60)
    else:
        box = page.locator(".u-over").first.bounding_box()
        assert box is not None  # the plot is shown
        for step in range(30):
            page.mouse.move(box["x"] + 20 + step * 12, box["y"] + 60 + step * 5)
    return float(page.evaluate("() => window.longest"))


@contextmanager
def _served(url: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    (port,) = free_ports(1)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(_ROOT),
        "SEARCHD_DATABASE_URL": url,
        "SEARCHD_DATA_FOLDER": str(folder),
        "SEARCHD_API_PORT": str(port),
    }
    api = Child("api", [sys.executable, "-m", "api"], environment, folder, folder / "api.log")
    api.start()
    try:
        address = f"http://127.0.0.1:{port}"
        _await(address, api)
        assert api.process is not None  # it was started
        yield address, psutil.Process(api.process.pid)
    finally:
        api.stop()


def _await(address: str, api: Child) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and api.exit_code is None:
        try:
            if httpx.get(f"{address}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the API did not start; {api.tail()}")


def main() -> None:
    """Print the measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000, help="number of search trials")
    parser.add_argument("--opens", type=int, default=5, help="how often the page is opened")
    arguments = parser.parse_args()
    found = measure(arguments.trials, arguments.opens)
    sys.stdout.write(f"{json.dumps(found, indent=2)}\n")


if __name__ == "__main__":
    main()
