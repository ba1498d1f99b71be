"""The web page on the real service: a search is submitted, paused, resumed, watched to its end and
opened. With SEARCHD_SCREENSHOTS=on the pictures of docs/web.md are made of what it shows."""

import os
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from safetensors.torch import load_file

from api.client import Client
from searchd.domain.lifecycle import SearchStatus
from tests.browser import card, chromium, opened
from tests.e2e import pictured
from tests.e2e.specs import ONE_AT_A_TIME, SEARCH

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PICTURES = {
    "overview": "#/",
    "search": "#/searches/{search}",
    "course": "#/searches/{search}?tab=course",
    "lineage": "#/searches/{search}?tab=lineage",
    "detector": "#/detectors/{best}",
    "submit": "#/submit/search?from={search}",
    "pool": "#/pools/{pool}",
    "dataset": "#/datasets/{dataset}",
    "compare": "#/compare?searches={search}&detectors={base},{best}",
    "distillation": "#/distillations/{distillation}",
    "teacher": "#/teachers/{teacher}",
    "device": "#/devices/{device}",
}
HEIGHTS = {"pool": 1650, "teacher": 780}
"""Pixels of pages that are not as high as the others."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser) as page:
        yield page


def test_a_search_is_submitted_paused_resumed_and_watched_to_its_end(
    client: Client, search: str, page: Page
) -> None:
    budget = {"max_trials": 1, "finish": None}
    changes = {"name": "clicked", "budget": budget, "control": False, "resources": ONE_AT_A_TIME}
    page.goto(f"{client.url}/#/submit/search")
    page.get_by_label("Spec as YAML or JSON").fill(yaml.safe_dump({**SEARCH, **changes}))
    expect(page.get_by_text("It would be accepted.")).to_be_visible()
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("clicked")

    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    status = page.locator(".head .status")
    expect(status).to_have_text("paused", timeout=120_000)
    page.get_by_role("button", name="Resume").click()

    expect(status).to_have_text("succeeded", timeout=300_000)
    trials = page.get_by_role("group", name="Trials")
    expect(trials.get_by_role("row")).to_have_count(3)
    expect(card(page, "What it gained")).to_contain_text("trial 0")
    assert client.get_search("clicked").status is SearchStatus.SUCCEEDED
    assert search  # which has trained the pool


def test_a_found_detector_is_opened_from_its_search_and_its_weights_are_saved(
    client: Client, search: str, page: Page
) -> None:
    best = client.get_search(search).best_trial_id
    page.goto(f"{client.url}/#/searches/first")

    page.get_by_role("link", name=best, exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text(str(best))
    expect(page.get_by_role("img", name=re.compile("^Backbone of"))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download student").click()
    assert "backbone.bn1.weight" in load_file(download.value.path())


def test_a_found_detector_tells_where_it_fails_and_what_its_worker_logged(
    client: Client, search: str, page: Page
) -> None:
    best = client.get_search(search).best_trial_id
    page.goto(f"{client.url}/#/detectors/{best}")

    classes = card(page, "AP by class")
    expect(classes.get_by_role("row").filter(has_text="triangle")).to_be_visible()
    errors = card(page, "Kinds of error (TIDE)")
    expect(errors).to_contain_text("on 8 images of the validation split")
    predictions = card(page, "Predictions on sample images")
    expect(predictions.get_by_role("img", name="In the image")).to_have_count(4)
    expect(predictions.get_by_role("img", name="Base")).to_have_count(4)
    expect(predictions.get_by_role("img", name="This detector")).to_have_count(4)
    expect(card(page, "Log").get_by_role("log")).to_contain_text("epoch")


@pytest.mark.skipif(os.environ.get("SEARCHD_SCREENSHOTS") != "on", reason="pictures for the docs")
def test_pictures_of_every_page(client: Client, search: str, browser: Browser) -> None:
    pictured.add_teacher(client, search)
    pictured.add_device(client)
    pictured.add_distillation(client, search)

    take_pictures(client, search, browser)


def take_pictures(client: Client, search: str, browser: Browser) -> None:
    """Save a picture of every page, of a search that has ended, for docs/web.md. The service must
    have a distillation, a teacher and a device (`pictured`)."""
    shown = client.get_search(search)
    names = {
        "search": shown.name,
        "pool": shown.spec.pool,
        "dataset": shown.spec.dataset,
        "best": shown.best_trial_id,
        "base": f"{shown.id}-base",
        "distillation": next(iter(client.list_distillations())).name,
        "teacher": next(iter(client.list_teachers())).name,
        "device": next(iter(client.list_devices())).name,
    }
    with opened(browser, height=1150) as page:
        for name, address in PICTURES.items():
            page.set_viewport_size({"width": 1280, "height": HEIGHTS.get(name, 1150)})
            _picture(page, f"{client.url}/{address.format(**names)}", name)
    with opened(browser, 390, dark=True) as page:
        _picture(page, f"{client.url}/#/searches/{shown.name}", "phone")


def _picture(page: Page, address: str, name: str) -> None:
    page.goto(address)
    expect(page.locator("main .card").first).to_be_visible()
    page.wait_for_timeout(2000)  # plots and images, which have no text to wait for
    shown = Image.open(BytesIO(page.screenshot())).convert("RGB")
    picture = shown.quantize(256, method=Image.Quantize.MAXCOVERAGE)  # keeps rare colours
    picture.save(IMAGES / f"web-{name}.png", optimize=True)
