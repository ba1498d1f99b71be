"""A real browser for tests: Debian's Chromium, driven by Playwright, under the page's own CSP."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    expect,
    sync_playwright,
)

CHROMIUM = shutil.which("chromium")
WAIT_MS = 60_000
"""Milliseconds that a test waits for the page: machines that run tests are busy."""
_EXPECTED = "Failed to load resource"  # the console's words for an answer of 4xx


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; the test is skipped where there is none. It is closed before other tests of
    the process run, since Playwright keeps an event loop running as long."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, width: int = 1280, height: int = 900, *, dark: bool = False
) -> Iterator[Page]:
    """Open a tab with storage of its own, and check that the page raised no error in it."""
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and _EXPECTED not in message.text:
            problems.append(message.text)

    scheme = "dark" if dark else "light"
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert problems == []


def card(page: Page, title: str) -> Locator:
    """The box of the page with this title."""
    return page.locator(".card").filter(has=page.get_by_role("heading", name=title, exact=True))
