"""The web page in a real browser: what it shows of what the API answers, and what it asks of it."""

import json
import re
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from detection.data.coco import check_dataset
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import PoolStatus
from searchd.domain.trial import Artifact, FinalSplit
from searchd.spec import Spec
from searchd.store import Database
from searchd.store.resources import datasets, pools, teachers
from searchd.store.work import queue
from tests.api.service import Service
from tests.browser import card
from tests.searchd.store import factories
from tests.searchd.store.device_factory import add_device, device_spec
from tests.searchd.store.distillation_factory import (
    choose_order,
    measure_sweep,
    run_sweep,
    start_distillation,
)

pytestmark = pytest.mark.timeout(300)  # starts a browser


@pytest.mark.usefixtures("lease")
def test_the_overview_shows_everything_and_what_it_does(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_distillation(database)
    with database.write() as session:
        teachers.create(session, factories.teacher_spec())

    page.goto(service.url)

    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="first"))
    expect(row).to_contain_text("running")
    expect(row).to_contain_text("1 of at most 100 trials")
    expect(page.locator("#distillations")).to_contain_text("waits for admission")
    expect(page.locator("#teachers")).to_contain_text("waits to be loaded and evaluated")
    expect(page.locator("#teachers")).to_contain_text("mmdet retinanet_swin")
    expect(page.locator("#pools")).to_contain_text("trained; 2 subnets evaluated")


def test_the_overview_is_filtered_by_words_and_status(
    service: Service, database: Database, page: Page
) -> None:
    for name in ("night", "day"):
        factories.add_search(database, name)
    page.goto(service.url)
    searches = page.locator("#searches")
    expect(searches.get_by_role("link", name="night")).to_be_visible()

    page.get_by_label("Filter by name").fill("DAY shapes")

    expect(searches.get_by_role("link", name="night")).to_be_hidden()
    expect(searches.get_by_role("link", name="day")).to_be_visible()
    page.get_by_role("combobox", name="Status").select_option("failed")
    expect(searches).to_contain_text("None of 2 entries fits the filter.")


def test_a_search_is_checked_as_it_is_typed_and_submitted(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_dataset(database)
    factories.add_pool(database)
    page.goto(f"{service.url}/#/submit/search")
    text = page.get_by_label("Spec as YAML or JSON")
    expect(text).to_have_value("name: my-search\ndataset: shapes\npool: teachers\n")
    expect(page.get_by_text("It would be accepted.")).to_be_visible()
    expect(page.get_by_text("Worker-hours", exact=True)).to_be_visible()

    text.fill("name: mine\ndataset: shapes\npool: teachers\nbudget: {max_trails: 3}\n")

    expect(page.get_by_role("alert")).to_contain_text("max_trails")
    expect(page.get_by_role("button", name="Submit", exact=True)).to_be_disabled()
    text.fill("name: mine\ndataset: shapes\npool: teachers\n")
    page.get_by_text("budget", exact=True).click()
    page.get_by_label("max trials").fill("7")
    expect(text).to_have_value(re.compile(r"budget:\n  max_trials: 7"))
    expect(page.get_by_text("It would be accepted.")).to_be_visible()
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("mine")
    page.get_by_role("link", name="Clone").click()
    expect(text).to_have_value(re.compile(r"^name: mine-2\n"))


SUBMITTED: dict[str, tuple[Spec, str, float, float]] = {
    "distillation": (factories.distillation_spec("one"), "num_sampled_teachers", 3, 0),
    "pool": (factories.pool_spec("one"), "evaluated_subnets", 2, 0),
    "teacher": (factories.trained_teacher("one"), "cpus", 2, 0),
    "dataset": (factories.dataset_spec("one"), "max_empty_share", 0.2, 2),
    "device": (device_spec("one"), "threads", 2, 0),
}
"""For each kind but searches an earlier spec, a field, a value of it, and one that is refused."""


@pytest.mark.parametrize("kind", SUBMITTED)
def test_every_kind_is_cloned_checked_as_it_is_typed_and_submitted(
    service: Service, database: Database, page: Page, kind: str
) -> None:
    spec, field, value, refused = SUBMITTED[kind]
    resources = f"{service.url}/api/v1/{kind}s"
    factories.add_dataset(database)
    factories.add_pool(database)
    earlier = spec.model_dump(mode="json", exclude_unset=True)
    assert page.request.post(resources, data=earlier).status == 201

    page.goto(f"{service.url}/#/{kind}s/one")
    page.get_by_role("link", name="Clone").click()
    text = page.get_by_label("Spec as YAML or JSON")
    expect(text).to_have_value(re.compile(r"^name: one-2\n"))
    expect(page.get_by_text("It would be accepted.")).to_be_visible()
    text.fill(json.dumps({**earlier, "name": "two", field: refused}))
    expect(page.get_by_role("alert")).to_contain_text(field)
    expect(page.get_by_role("button", name="Submit", exact=True)).to_be_disabled()
    text.fill(json.dumps({**earlier, "name": "two", field: value}))
    expect(page.get_by_text("It would be accepted.")).to_be_visible()
    page.get_by_role("button", name="Submit", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("two")
    assert page.request.get(f"{resources}/two").json()["spec"][field] == value


@pytest.mark.parametrize("kind", ["pool", "distillation"])
def test_a_training_is_forecast_before_it_is_submitted(
    service: Service, database: Database, page: Page, kind: str
) -> None:
    factories.add_dataset(database)
    factories.add_pool(database)
    page.goto(f"{service.url}/#/submit/{kind}")

    forecast = card(page, "Check and forecast")
    expect(forecast.get_by_text("Worker-hours", exact=True)).to_be_visible()


def test_a_detector_is_shown_beside_its_base_and_downloaded(
    service: Service, database: Database, page: Page, tmp_path: Path
) -> None:
    _, lease = factories.start_search(database)
    file = tmp_path / "student.safetensors"
    file.write_bytes(b"weights")
    digest = sha256(b"weights").hexdigest()
    artifact = Artifact(name="student", uri=str(file), sha256=digest, size_bytes=7)
    report = replace(factories.succeeded("0", ap=0.55, macs=1.5e9), artifacts=(artifact,))
    factories.run_trial(database, lease, factories.base_proposal())
    trial = factories.run_trial(database, lease, factories.search_proposal(0), report)

    page.goto(f"{service.url}/#/detectors/{trial.id}")

    figures = card(page, "Measured on the validation split")
    expect(figures.get_by_role("row").filter(has_text="96x96")).to_contain_text("+5.0")
    expect(figures.get_by_role("row").filter(has_text="96x96")).to_contain_text("0.75 x")
    drawing = page.get_by_role("img", name="stage 1 has 2 blocks instead of 2")
    expect(drawing).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download student").click()
    assert Path(download.value.path()).read_bytes() == b"weights"
    page.get_by_role("button", name="Pin").click()
    expect(page.get_by_role("button", name="Unpin")).to_be_visible()
    page.get_by_role("button", name="Export", exact=True).click()
    expect(card(page, "Exports")).to_contain_text("onnx fp32, dynamic")


def test_searches_and_detectors_are_compared(
    service: Service, database: Database, page: Page
) -> None:
    for name, ap in (("first", 0.5), ("second", 0.6)):
        _, lease = factories.start_search(database, name)
        base = factories.base_proposal()
        factories.run_trial(database, lease, base, factories.succeeded("base", ap=ap))

    page.goto(f"{service.url}/#/compare?searches=first")
    page.get_by_label("second").check()

    expect(page.get_by_role("img", name="fronts of first, second")).to_be_visible()
    table = page.get_by_role("group", name=re.compile("^Search, Status"))
    expect(table.get_by_role("row")).to_have_count(3)
    for search in page.request.get(f"{service.url}/api/v1/searches").json()["items"]:
        page.get_by_label("Id of a detector").fill(f"{search['id']}-base")
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_role("button", name=f"Remove {search['id']}-base")).to_be_visible()
    figure = page.get_by_role("row").filter(
        has=page.get_by_role("rowheader", name="AP %", exact=True)
    )
    expect(figure.last).to_contain_text("10.0")


def test_a_distillation_shows_costs_order_and_stages(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_dataset(database)
    factories.add_pool(database)
    row, lease = start_distillation(database)
    factories.run_trial(database, lease, factories.base_proposal())
    choose_order(database, lease, row)

    page.goto(f"{service.url}/#/distillations/mtpd")

    costs = page.locator("table.heat")
    expect(costs.locator("td.on-path").first).to_have_text("0.250")
    why = card(page, "Chosen order, and why")
    expect(why).to_contain_text("closest to largest")
    expect(card(page, "Stages")).to_contain_text("smallest > largest")


def test_a_sweep_shows_a_plot_and_its_values(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_dataset(database)
    factories.add_pool(database)
    _, lease = run_sweep(database)
    measure_sweep(database, lease, FinalSplit.VALIDATION, FinalSplit.TEST)

    page.goto(f"{service.url}/#/distillations/mtpd")

    label = "AP on validation and test by trial.learning_rate, for 2 values"
    expect(page.get_by_role("img", name=label)).to_be_visible()
    shown = card(page, "Sweep of trial.learning_rate")
    row = shown.get_by_role("row").filter(has_text="0.02")
    expect(row).to_contain_text("50.0 [49.5, 50.5]")
    expect(row).to_contain_text("+10.0 [+10.0, +10.0], better")
    expect(shown).to_contain_text("0.01 (as submitted)")
    expect(shown).to_contain_text("baseline no teacher")
    expect(card(page, "Stages")).to_contain_text("largest (0.02)")


def test_a_pool_shows_its_losses_and_subnets(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_dataset(database)
    factories.add_pool(database)

    page.goto(f"{service.url}/#/pools/teachers")

    expect(page.get_by_role("img", name="AP of 2 measured subnets by MACs")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="supernet 1")).to_contain_text("1.5")


def test_a_pool_shows_its_subnets_at_the_end_of_each_phase(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_dataset(database)
    pool_id = factories.add_pool(database, ready=False)
    report = factories.with_measured_phase(factories.pool_report(pool_id))
    with factories.leased(database, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, report)

    page.goto(f"{service.url}/#/pools/teachers")

    phases = card(page, "Subnets at the end of each phase")
    expect(phases.get_by_role("img", name="subnet after supernet, shrink-1")).to_be_visible()
    rows = phases.locator("tbody").last.get_by_role("row")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("supernet")
    expect(rows.nth(1)).to_contain_text("30.0")
    expect(rows.nth(2)).to_contain_text("50.0")


def test_a_data_set_shows_its_counts_and_images_with_boxes(
    service: Service, database: Database, page: Page, tmp_path: Path
) -> None:
    spec = make_shapes(tmp_path / "shapes", num_train=3, num_validation=1, image_size=64)
    with database.write() as session:
        row = datasets.create(session, spec)
    summary = json.loads(json.dumps(asdict(check_dataset(spec))))
    with factories.leased(database, f"dataset_check-{row.id}") as (session, lease):
        datasets.record_ready(session, lease, summary)

    page.goto(f"{service.url}/#/datasets/shapes")

    classes = card(page, "Objects by class")
    expect(classes.get_by_role("row").filter(has_text="circle")).to_be_visible()
    image = page.get_by_role("img", name=re.compile(r"validation: 000000.png, \d+ objects"))
    expect(image).to_be_visible()


def test_a_device_shows_how_far_its_predictions_are_off(
    service: Service, database: Database, page: Page
) -> None:
    add_device(database, "laptop")
    page.goto(service.url)
    expect(page.locator("#devices")).to_contain_text("3.0 %")

    page.locator("#devices").get_by_role("link", name="laptop").click()

    expect(page.get_by_text("Test CPU")).to_be_visible()
    checked = card(page, "Predicted and measured")
    expect(checked.get_by_role("row").filter(has_text="faster rcnn")).to_contain_text("+3.0")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#devices")).to_contain_text("None yet.")


def test_a_data_set_is_renamed(service: Service, database: Database, page: Page) -> None:
    factories.add_dataset(database)
    page.goto(f"{service.url}/#/datasets/shapes")

    page.get_by_role("button", name="Rename").click()
    page.get_by_label("New name").fill("forms")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("forms")


def test_what_is_archived_leaves_the_overview_until_it_is_asked_for(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_dataset(database)
    factories.add_pool(database)
    page.goto(service.url)

    page.get_by_role("button", name="Archive teachers").click()
    page.get_by_role("dialog").get_by_role("button", name="Archive").click()

    pools_card = page.locator("#pools")
    expect(pools_card).to_contain_text("None yet.")
    page.get_by_role("combobox", name="Status").select_option("archived")
    pools_card.get_by_role("link", name="teachers", exact=True).click()
    page.get_by_role("button", name="Unarchive").click()
    expect(page.get_by_role("button", name="Archive", exact=True)).to_be_visible()
    page.goto(service.url)
    expect(pools_card.get_by_role("link", name="teachers", exact=True)).to_be_visible()


def test_a_pool_is_extended_by_a_spec_that_continues_it(
    service: Service, database: Database, page: Page
) -> None:
    factories.add_dataset(database)
    factories.add_pool(database)
    page.goto(f"{service.url}/#/pools/teachers")

    page.get_by_role("link", name="Extend").click()

    text = page.get_by_label("Spec as YAML or JSON")
    expect(text).to_have_value(re.compile(r"^name: teachers-2\n(.*\n)*start_from: teachers\n"))
    expect(page.get_by_text("It would be accepted.")).to_be_visible()
