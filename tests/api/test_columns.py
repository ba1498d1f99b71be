"""All trials of a search in columns: what plots and large tables are drawn from."""

from dataclasses import replace

import httpx

from searchd.domain.lifecycle import FailureCause
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import Outcome
from searchd.messages.reports import Report, SanityChecks
from searchd.store import Database
from searchd.store.runs import trials
from tests.searchd.store.factories import (
    add_teacher,
    base_proposal,
    progress,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)


def test_a_trial_and_its_evaluations_have_one_position_each(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(1), succeeded("1", ap=0.123456789))

    found = http.get("/searches/first/columns").json()

    assert found["resolutions"] == ["64x64", "96x96"]
    shown = found["trials"]
    assert shown["name"] == ["base", "1"]
    assert shown["parent"] == [None, "base"]
    assert shown["action"] == ["train", "prune_layer"]
    assert shown["change"] == ["train", "prune a layer"]
    assert shown["teacher"] == [None, "d2-2-2-2 w1/1/1/1 n256"]
    assert shown["score"] == [0.5, 0.123457], "six digits are enough for a plot"
    assert shown["reason"] == [None, None]
    assert found["evaluations"]["trial"] == [0, 0, 1, 1]
    assert found["evaluations"]["resolution"] == [0, 1, 0, 1]
    assert found["evaluations"]["macs"] == [1e9, 2e9, 1e9, 2e9]


def test_only_what_changed_since_an_event_is_sent_again(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    event = http.get("/searches/first/columns").json()["event"]
    run_trial(database, lease, search_proposal(0))

    found = http.get("/searches/first/columns", params={"since": event}).json()

    assert found["trials"]["name"] == ["0"]
    assert found["evaluations"]["trial"] == [0, 0]
    nothing = http.get("/searches/first/columns", params={"since": found["event"]}).json()
    assert (nothing["trials"]["name"], nothing["event"]) == ([], found["event"])


def test_a_running_trial_is_always_sent_with_its_progress(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
    event = http.get("/searches/first/columns").json()["event"]
    with database.write() as session:
        trials.record_progress(session, lease, progress("base"))

    shown = http.get("/searches/first/columns", params={"since": event}).json()["trials"]

    (running,) = shown["progress"]
    assert running["losses"] == {"loss": 0.75}
    assert (running["epoch"], running["num_epochs"]) == (2, 3)


def test_a_failure_has_its_cause_and_reason(http: httpx.Client, database: Database) -> None:
    _, lease = start_search(database)
    lost = Report(
        trial="base",
        attempt=1,
        outcome=Outcome.FAILED,
        cause=FailureCause.NON_FINITE_LOSS,
        reason="loss_cls is nan",
    )
    run_trial(database, lease, base_proposal(), lost)

    shown = http.get("/searches/first/columns").json()["trials"]

    assert (shown["status"], shown["cause"]) == (["failed"], ["non_finite_loss"])
    assert "loss_cls is nan" in shown["reason"][0]


def test_a_registered_teacher_has_its_name_and_measured_ap(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    teacher = RegisteredTeacher(teacher=add_teacher(database, "strong"))
    checked = replace(succeeded("0"), checks=SanityChecks(teacher_ap=0.61))
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0, teacher=teacher), checked)

    shown = http.get("/searches/first/columns").json()["trials"]

    assert (shown["teacher"], shown["teacher_ap"]) == ([None, "strong"], [None, 0.61])
