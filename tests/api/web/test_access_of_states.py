"""WCAG AA where a page looks different: what runs, has ended or failed, questions, refusals."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from detection.data.coco import check_dataset
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import FailureCause, PoolStatus, SearchStatus, TeacherStatus
from searchd.domain.trial import FinalSplit, Outcome
from searchd.store import Database
from searchd.store.resources import archiving, datasets, exports, pools, teachers
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.api.service import Service
from tests.api.web.wcag import faults
from tests.browser import opened
from tests.searchd.store import distillation_factory, factories

pytestmark = pytest.mark.timeout(300)  # starts a browser


def add_checked_dataset(database: Database, folder: Path) -> None:
    """The data set "shapes" with real statistics and samples."""
    spec = make_shapes(folder, num_train=3, num_validation=1, image_size=64)
    with database.write() as session:
        row = datasets.create(session, spec)
    summary = json.loads(json.dumps(asdict(check_dataset(spec))))
    with factories.leased(database, f"dataset_check-{row.id}") as (session, lease):
        datasets.record_ready(session, lease, summary)


def add_pools(database: Database) -> None:
    """The pool "teachers" with the subnets of its phases, and "old", which is archived."""
    pool_id = factories.add_pool(database, ready=False)
    report = factories.with_measured_phase(factories.pool_report(pool_id))
    with factories.leased(database, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, report)
    with database.write() as session:
        old = pools.create(session, factories.pool_spec("old"))
    with factories.leased(database, f"pool-{old.id}") as (session, lease):
        queue.give_up(session, lease, "its data set has changed")
    with database.write() as session:
        archiving.archive(session, pools.get(session, "old"))


def add_training_teacher(database: Database) -> None:
    row_id = factories.add_teacher(database, "strong", ready=False)
    with factories.leased(database, f"teacher_training-{row_id}") as (session, lease):
        queue.advance(session, lease, TeacherStatus.TRAINING, "started")
        teachers.record_progress(session, lease, factories.teacher_progress())


def add_distillation(database: Database) -> None:
    """A distillation of which one stage has ended and another waits."""
    row, lease = distillation_factory.start_distillation(database)
    distillation_factory.run_base(database, lease)
    plan = distillation_factory.choose_order(database, lease, row)
    smallest = factories.pool_spec().space.space.smallest
    distillation_factory.run_stage(database, lease, 0, "base", smallest, ap=0.4)
    distillation_factory.add_stage(
        database, lease, 1, "0", factories.pool_spec().space.space.largest
    )
    assert plan.stages


def add_sweep(database: Database) -> None:
    _, lease = distillation_factory.run_sweep(database, "swept")
    distillation_factory.measure_sweep(database, lease, *FinalSplit)


def add_searches(database: Database) -> str:
    """The running search "first", with a trial of each kind, and "second", which has ended; the id
    of a detector with an export."""
    row, lease = factories.start_search(database)
    factories.run_trial(
        database,
        lease,
        factories.base_proposal(),
        factories.with_breakdown(factories.succeeded("base")),
    )
    found = factories.with_breakdown(factories.succeeded("0", ap=0.6, macs=1e9))
    factories.run_trial(database, lease, factories.search_proposal(0), found)
    failed = replace(
        factories.succeeded("1"),
        outcome=Outcome.FAILED,
        cause=FailureCause.BUG,
        reason="Traceback",
        evaluations=(),
        artifacts=(),
    )
    factories.run_trial(database, lease, factories.search_proposal(1), failed)
    with database.write() as session:
        trials.add(session, lease, factories.search_proposal(2))
        trials.start(session, lease, "2")
        trials.record_progress(session, lease, factories.progress("2"))
    _, other = factories.start_search(database, "second")
    factories.run_trial(database, other, factories.base_proposal())
    with database.write() as session:
        queue.finish(session, other, SearchStatus.SUCCEEDED, "converged")
    return f"{row.id}-0"


def add_export(page: Page, service: Service, trial: str) -> None:
    made = page.request.post(
        f"{service.url}/api/v1/detectors/{trial}/exports", data={"format": "onnx"}
    ).json()
    with factories.leased(service.database, f"export-{made['id']}") as (session, work):
        exports.record_report(session, work, factories.export_report())


@pytest.fixture
def trial(database: Database, tmp_path: Path) -> str:
    """The id of a detector in a service with something in every state."""
    add_checked_dataset(database, tmp_path / "shapes")
    add_pools(database)
    add_training_teacher(database)
    add_distillation(database)
    add_sweep(database)
    return add_searches(database)


def ask(name: str) -> Callable[[Page], None]:
    """Open the question before an action."""

    def open_it(page: Page) -> None:
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()

    return open_it


def show_archived(page: Page) -> None:
    page.get_by_role("combobox", name="Status").select_option("archived")
    expect(page.locator("#pools").get_by_role("link", name="old", exact=True)).to_be_visible()


def mistype(page: Page) -> None:
    page.get_by_label("Spec as YAML or JSON").fill("name: a\ndataset: shapes\npool: none\nsed: 1\n")
    expect(page.get_by_role("alert")).to_be_visible()


def open_figures(page: Page) -> None:
    for each in page.locator("details > summary").all():
        each.click()


STATES: dict[str, tuple[str, Callable[[Page], None] | None]] = {
    "everything": ("#/", None),
    "archived": ("#/", show_archived),
    "pool with phases": ("#/pools/teachers", None),
    "failed pool": ("#/pools/old", None),
    "data set with samples": ("#/datasets/shapes", None),
    "teacher in training": ("#/teachers/strong", None),
    "distillation with stages": ("#/distillations/mtpd", None),
    "distillation with a sweep": ("#/distillations/swept", None),
    "running search": ("#/searches/first?tab=course", None),
    "report": ("#/searches/first", open_figures),
    "failed trial": ("#/detectors/{search}-1", None),
    "running trial": ("#/detectors/{search}-2", None),
    "detector with export": ("#/detectors/{trial}", open_figures),
    "comparison": ("#/compare?searches=first,second&detectors={trial},{search}-base", open_figures),
    "pause": ("#/searches/first", ask("Pause")),
    "extend": ("#/searches/second", ask("Extend")),
    "finish": ("#/searches/second", ask("Finish")),
    "archive": ("#/searches/second", ask("Archive")),
    "rename": ("#/datasets/shapes", ask("Rename")),
    "refused spec": ("#/submit/search", mistype),
    "unknown resource": ("#/searches/nothing", None),
}


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 380)])
def test_every_state_meets_wcag_aa_and_fits_its_width(
    service: Service, browser: Browser, trial: str, dark: bool, width: int
) -> None:
    search = trial.rpartition("-")[0]
    found = {}
    with opened(browser, width, dark=dark) as page:
        add_export(page, service, trial)
        page.goto(service.url)
        for name, (address, change) in STATES.items():
            page.goto(f"{service.url}/{address.format(trial=trial, search=search)}")
            expect(page.locator("main .card, main .notice").first).to_be_visible()
            if change is not None:
                change(page)
            found[name] = faults(page)
            page.keyboard.press("Escape")  # closes a question
    assert found == dict.fromkeys(STATES, [])
