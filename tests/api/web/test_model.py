"""The page's own logic, module by module: the tests are functions of `unit/*.js`, run in the
browser against the modules that the service serves."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.api.service import Service
from tests.browser import opened

pytestmark = pytest.mark.timeout(300)  # starts a browser
UNIT = Path(__file__).parent / "unit"
TESTS = [
    (file.name, name)
    for file in sorted(UNIT.glob("*.js"))
    for name in re.findall(r"^export function (\w+)\(\)", file.read_text(), re.MULTILINE)
]
RUN = "async ([file, name]) => { (await import(file))[name](); }"


@pytest.fixture(scope="module")
def modules(browser: Browser, shared_service: Service) -> Iterator[Page]:
    """A tab of the page that can also import the tests."""

    def serve(route: Route) -> None:
        route.fulfill(path=UNIT / route.request.url.rpartition("/")[2])

    with opened(browser) as page:
        page.route("**/unit/*.js", serve)
        page.goto(f"{shared_service.url}/")
        yield page


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_logic(modules: Page, file: str, name: str) -> None:
    modules.evaluate(RUN, [f"/unit/{file}", name])


def test_a_wrong_expectation_fails(modules: Page) -> None:
    with pytest.raises(Exception, match="got 1, expected 2"):
        modules.evaluate("async () => (await import('/unit/equal.js')).equal(1, 2)")
