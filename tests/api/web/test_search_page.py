"""The page of a search in a real browser, live."""

import pytest
from playwright.sync_api import Page, expect

from searchd.domain.lifecycle import SearchStatus
from searchd.spec import TrainingSpec
from searchd.store import Database, Lease
from searchd.store.work import queue
from tests.api.service import Service
from tests.browser import card
from tests.searchd.store import factories

pytestmark = pytest.mark.timeout(300)  # starts a browser


@pytest.mark.usefixtures("lease")
def test_a_search_shows_its_verdict_its_front_and_its_trials(service: Service, page: Page) -> None:
    page.goto(f"{service.url}/#/searches/first")

    gained = card(page, "What it gained")
    expect(gained).to_contain_text("The best detector is trial 0. Against the base at 96x96: +0.0")
    expect(gained).to_contain_text("The search is running; this report is provisional.")
    gained.get_by_text("Figures and intervals").click()
    expect(gained.get_by_role("row").filter(has_text="96x96").first).to_be_visible()
    expect(page.get_by_role("img", name="4 detectors by GMACs per image")).to_be_visible()
    trials = page.get_by_role("group", name="Trials")
    expect(trials.get_by_role("row").nth(1)).to_contain_text("base")
    expect(trials.get_by_role("row").nth(2)).to_contain_text("mutate the teacher")


def test_a_new_trial_appears_by_itself_and_nothing_is_read_twice(
    service: Service, database: Database, lease: Lease, page: Page
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{service.url}/#/searches/first")
    trials = page.get_by_role("group", name="Trials")
    expect(trials.get_by_role("row")).to_have_count(3)

    factories.run_trial(
        database, lease, factories.search_proposal(1, parent="0"), factories.succeeded("1", ap=0.55)
    )

    expect(trials.get_by_role("row")).to_have_count(4)
    expect(trials.get_by_role("row").nth(3)).to_contain_text("+5.00")
    columns = [url.partition("since=")[2] for url in asked if "/columns" in url]
    assert columns.count("0") == 1, "all trials are read once"
    assert not [url for url in asked if url.endswith("/trials")]


def test_a_box_in_the_plot_chooses_rows_and_a_click_opens_a_detector(
    service: Service, database: Database, lease: Lease, page: Page
) -> None:
    report = factories.succeeded("1", ap=0.7, macs=1e9)
    factories.run_trial(database, lease, factories.search_proposal(1, parent="0"), report)
    page.goto(f"{service.url}/#/searches/first")
    trials = page.get_by_role("group", name="Trials")
    expect(trials.get_by_role("row")).to_have_count(4)  # nothing moves the plot any more
    plot = page.locator(".u-over").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + 1, box["y"] + 1)  # the upper left: cheap and accurate
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    page.mouse.up()

    expect(page.get_by_text("1 trial in the box")).to_be_visible()
    expect(trials.get_by_role("row")).to_have_count(2)
    expect(trials).to_contain_text("prune a layer")
    page.get_by_role("button", name="Show all").click()
    expect(trials.get_by_role("row")).to_have_count(4)
    trials.get_by_role("link", name="1", exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("-1")


def test_the_lineage_tells_what_each_edit_changed_and_gained(
    service: Service, database: Database, lease: Lease, page: Page
) -> None:
    report = factories.succeeded("1", ap=0.52)
    factories.run_trial(database, lease, factories.search_proposal(1, parent="0"), report)

    page.goto(f"{service.url}/#/searches/first?tab=lineage")

    tree = page.get_by_role("group", name="Lineage tree")
    expect(tree.get_by_role("row").nth(3)).to_contain_text("prune a layer")
    expect(tree.get_by_role("row").nth(3)).to_contain_text("+2.00")
    tree.get_by_role("button", name="Children of 0").click()
    expect(tree.get_by_role("row")).to_have_count(3)


def test_the_course_shows_scores_actions_and_failures(
    service: Service, database: Database, lease: Lease, page: Page
) -> None:
    report = factories.succeeded("1", ap=0.52)
    factories.run_trial(database, lease, factories.search_proposal(1, parent="0"), report)

    page.goto(f"{service.url}/#/searches/first?tab=course")

    expect(page.get_by_text("best so far: trial 1, 52.00 %")).to_be_visible()
    actions = card(page, "Gain and success by action")
    expect(actions.get_by_role("row").filter(has_text="prune layer")).to_contain_text("100 %")
    stages = card(page, "MACs by stage, base and best")
    expect(stages.get_by_role("row")).to_have_count(5)


@pytest.mark.usefixtures("lease")
def test_a_search_is_paused_after_a_confirmation_and_resumed(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_search(database, "waiting")
    page.goto(f"{service.url}/#/searches/waiting")

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("dialog")).to_contain_text("no training is lost")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()

    expect(page.locator(".head .status")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".head .status")).to_have_text("queued")
    page.get_by_role("button", name="Extend").click()
    page.get_by_label("Search trials at most").fill("0")
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    expect(page.locator(".toasts")).to_contain_text("max_trials")


def test_a_running_search_is_finished_early(
    service: Service, database: Database, page: Page
) -> None:
    trained_at = TrainingSpec(resolutions=(factories.SMALL, factories.LARGE))
    _, lease = factories.start_search(database, trial=trained_at)
    factories.run_trial(database, lease, factories.base_proposal())
    factories.run_trial(database, lease, factories.search_proposal(0))
    page.goto(f"{service.url}/#/searches/first")
    page.get_by_role("button", name="Finish now").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("It starts no further search trial")

    dialog.get_by_role("button", name="Finish").click()

    expect(page.locator(".toasts")).to_contain_text("first starts no further search trial")
    found = page.request.get(f"{service.url}/api/v1/searches/first").json()
    assert found["budget"]["max_trials"] == 1, "as many as it has"
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "done")
    page.get_by_role("button", name="Finish", exact=True).click()
    dialog.get_by_role("button", name="Finish").click()
    expect(page.locator(".toasts")).to_contain_text("Submitted: first-fine-tune-0")
