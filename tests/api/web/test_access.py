"""Who can use the page: with a token, through a restart, by keyboard, on a phone, in the dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from api.auth import Rules
from searchd.store import Database, Lease, Role
from searchd.store.resources import tokens
from tests.api.service import Service, serve
from tests.api.web.wcag import faults
from tests.browser import opened
from tests.searchd.store import factories
from tests.searchd.store.device_factory import add_device
from tests.searchd.store.distillation_factory import choose_order, start_distillation

pytestmark = pytest.mark.timeout(300)  # starts a browser


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Service]:
    """A service that needs tokens."""
    with serve(tmp_path, Rules(tokens_needed=True)) as service:
        yield service


def test_a_wrong_token_is_refused_and_a_right_one_is_used(guarded: Service, page: Page) -> None:
    with guarded.database.write() as session:
        secret = tokens.create(session, "ann", Role.SUBMIT)
    page.goto(guarded.url)
    form = page.get_by_role("form", name="Access token")
    expect(form).to_contain_text("this call needs a token")

    form.get_by_label("Access token").fill("searchd_guessed")
    form.get_by_role("button").click()
    expect(form).to_contain_text("this token is unknown or was revoked")

    form.get_by_label("Access token").fill(secret)
    form.get_by_role("button").click()
    expect(form).to_be_hidden()
    expect(page.locator("#searches")).to_contain_text("None yet.")


def test_an_open_page_outlives_a_restart_of_the_service(page: Page, tmp_path: Path) -> None:
    with serve(tmp_path) as service:
        port = int(service.url.rpartition(":")[2])
        _, lease = factories.start_search(service.database)
        factories.run_trial(service.database, lease, factories.base_proposal())
        page.goto(f"{service.url}/#/searches/first")
        trials = page.get_by_role("group", name="Trials")
        expect(trials.get_by_role("row")).to_have_count(2)
    expect(page.get_by_text("The service does not answer")).to_be_visible()

    with serve(tmp_path, port=port) as service:
        factories.run_trial(service.database, lease, factories.search_proposal(0))
        expect(trials.get_by_role("row")).to_have_count(3)
        expect(page.get_by_text("The service does not answer")).to_be_hidden()
        page.goto("about:blank")


def test_the_page_is_used_by_keyboard(service: Service, database: Database, page: Page) -> None:
    factories.add_search(database, "first")
    page.goto(service.url)
    expect(page.get_by_role("link", name="first")).to_be_visible()

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Pause first").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


PAGES = {
    "overview": "#/",
    "search": "#/searches/first",
    "course": "#/searches/first?tab=course",
    "lineage": "#/searches/first?tab=lineage",
    "events": "#/searches/first?tab=events",
    "detector": "#/detectors/{trial}",
    "pool": "#/pools/teachers",
    "dataset": "#/datasets/shapes",
    "device": "#/devices/laptop",
    "distillation": "#/distillations/mtpd",
    "teacher": "#/teachers/strong",
    "spec": "#/searches/first?tab=spec",
    "compare": "#/compare?searches=first&detectors={trial}",
    "submit": "#/submit/search",
}


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 380)])
def test_every_page_meets_wcag_aa_and_fits_its_width(
    service: Service,
    database: Database,
    lease: Lease,
    browser: Browser,
    dark: bool,
    width: int,
) -> None:
    add_device(database)
    factories.add_teacher(database, "strong")
    distillation, work = start_distillation(database)
    choose_order(database, work, distillation)
    trial = f"{lease.work_id.partition('-')[2]}-0"
    found = {}
    with opened(browser, width, dark=dark) as page:
        page.goto(service.url)
        for name, address in PAGES.items():
            page.goto(f"{service.url}/{address.format(trial=trial)}")
            expect(page.locator("main .card").first).to_be_visible()
            found[name] = faults(page)
    assert found == dict.fromkeys(PAGES, [])
