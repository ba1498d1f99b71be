"""What axe-core finds against WCAG 2.2 A and AA on a page."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_AXE = Path(__file__).parent / "assets" / "axe.min.js"
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def faults(page: Page) -> list[str]:
    """Return one text for each violation, and one if the page is wider than its window."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE.read_text())
    options = {"runOnly": {"type": "tag", "values": _TAGS}, "resultTypes": ["violations"]}
    violations = page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return [*map(_named, violations), *(["wider than the window"] if wide else [])]


def _named(violation: dict[str, Any]) -> str:
    """The rule, the first element that breaks it, and how."""
    first = violation["nodes"][0]
    return f"{violation['id']}: {first['html'][:200]} {first['failureSummary']}"
