"""All trials of a search in columns: what plots and large tables are drawn from."""

from dataclasses import replace

import httpx

from searchd.domain.distillation_methods import MethodName
from searchd.domain.lifecycle import FailureCause
from searchd.domain.method_set import MethodSet, WeightedMethod
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import Outcome
from searchd.messages.reports import Report, SanityChecks
from searchd.store import Database
from searchd.store.runs import trials
from tests.searchd.store.factories import (
    add_teacher,
    base_proposal,
    evaluation,
    progress,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
    with_breakdown,
)

METHODS = MethodSet(
    methods=(
        WeightedMethod(name=MethodName.SGFI, weight=1.0),
        WeightedMethod(name=MethodName.CWD, weight=2.5),
    )
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


def test_the_methods_of_trials_are_sent_if_the_search_searches_them(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    event = http.get("/searches/first/columns").json()["event"]
    run_trial(database, lease, search_proposal(0, methods=METHODS))
    run_trial(database, lease, search_proposal(1, methods=METHODS, teacher=None))

    shown = http.get("/searches/first/columns").json()["trials"]

    assert shown["methods"] == [None, "sgfi 1, cwd 2.5", None]
    assert shown["action"][1] == "mutate_teacher"
    of_the_base = http.get("/searches/first/columns", params={"since": event}).json()["trials"]
    assert of_the_base["methods"] == ["sgfi 1, cwd 2.5", None]


def test_no_methods_are_sent_of_a_search_that_has_the_same_for_all(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0))
    assert http.get("/searches/first/columns").json()["trials"]["methods"] == []


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


def test_the_ap_of_a_class_is_sent_on_demand(http: httpx.Client, database: Database) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0), with_breakdown(succeeded("0")))

    assert http.get("/searches/first/columns").json()["classes"] == ["circle", "square"]
    assert http.get("/searches/first/columns").json()["evaluations"]["class_ap"] == []
    found = http.get("/searches/first/columns", params={"class_name": "square"}).json()
    assert found["evaluations"]["class_ap"] == [None, None, 0.25, 0.25]
    answer = http.get("/searches/first/columns", params={"class_name": "squares"})
    assert answer.status_code == 422
    assert 'no class name "squares"; did you mean square?' in answer.json()["detail"]


def test_figures_that_no_evaluation_has_are_left_out(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    counted = replace(evaluation(), cost=0.125)
    run_trial(database, lease, search_proposal(0), replace(succeeded("0"), evaluations=(counted,)))

    found = http.get("/searches/first/columns").json()["evaluations"]

    assert (found["cost"], found["device_latency_s"]) == ([None, None, 0.125], [])
