"""The report of a search over HTTP."""

from dataclasses import replace

import httpx
import numpy as np
import pytest
from sqlalchemy import update

from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import Finish
from searchd.messages.devices import DeviceLatency
from searchd.messages.reports import Report, SanityChecks
from searchd.messages.tasks import SplitMeasurement
from searchd.spec import PoolSearchSpec, ScoreSpec
from searchd.store import Database, Lease
from searchd.store.models import FinalSplit, RunRow
from searchd.store.runs import split_evaluations, trials
from searchd.store.work import queue
from tests.searchd.store.factories import (
    LARGE,
    base_proposal,
    control_proposal,
    finish_proposal,
    macs_control_proposal,
    run_trial,
    search_proposal,
    search_spec,
    start_search,
    succeeded,
)

SHARED = np.random.default_rng(0).normal(0, 0.05, 1000)
"""What the resamples of all detectors have in common."""


def measurement(ap: float, own: float = 0.005, seed: int = 1) -> SplitMeasurement:
    """An AP whose resamples vary by their images, and a little by the detector."""
    resampled = ap + SHARED + np.random.default_rng(seed).normal(0, own, 1000)
    return SplitMeasurement(
        ap=ap,
        ap50=0.7,
        ap75=0.5,
        ap_small=-1,
        ap_medium=0.5,
        ap_large=0.5,
        num_images=40,
        resampled=tuple(resampled.tolist()),
    )


def search(
    database: Database, *, teacher_ap: float | None = None, end: bool = True
) -> tuple[str, Lease]:
    """Base, two trials and a control with APs of 40, 60, 50 and 55 % on validation."""
    row, lease = start_search(database)
    checks = SanityChecks(teacher_ap=teacher_ap, teacher_ap_floor=0.4)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.4))
    for number, ap in ((0, 0.6), (1, 0.5)):
        done = replace(succeeded(str(number), ap=ap, macs=1e9), checks=checks)
        run_trial(database, lease, search_proposal(number), done)
    run_trial(database, lease, control_proposal(1), succeeded("control-1", ap=0.55))
    if end:
        with database.write() as session:
            queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget spent")
    return row.id, lease


def measure(database: Database, lease: Lease, split: FinalSplit, **aps: float) -> None:
    """Record APs on a split at 96x96, by the trial's name with _ for -."""
    with database.write() as session:
        run_id = lease.work_id.removeprefix("search-")
        found = {
            trials.get(session, f"{run_id}-{name.strip('t').replace('_', '-')}")
            .evaluations[1]
            .id: measurement(ap, seed=number)
            for number, (name, ap) in enumerate(aps.items())
        }
        split_evaluations.record(session, lease, split, found)


def test_the_test_split_decides_and_its_intervals_are_shown(
    http: httpx.Client, database: Database
) -> None:
    _, lease = search(database, end=False)
    measure(database, lease, FinalSplit.TEST, base=0.42, t0=0.5, control_1=0.499)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget spent")

    found = http.get("/searches/first/report").json()

    assert (found["split"], found["num_images"]) == ("test", 40)
    assert found["verdict"] == (
        "The best detector is trial 0. It is better than the base at 96x96: +8.0 points of AP, "
        "95 % interval +6.6 to +9.3, with 0.50 x its MACs. It cannot be distinguished from the "
        "control (the base trained as long, without teacher) at 96x96: +0.1 points of AP, 95 % "
        "interval -1.3 to +1.4, with 0.50 x its MACs. A gain in AP over every reference is not "
        "shown; nor is a loss, and the best needs only 0.50 x the MACs of the references or less. "
        "More images narrow the intervals. Figures are of the test split (40 images), which did "
        "not select the best detector."
    )
    labels = [(d["label"], d["trial"], d["measured"]["ap"]) for d in found["detectors"]]
    assert labels == [("base", "base", 0.42), ("best", "0", 0.5), ("control", "control-1", 0.499)]
    best = found["detectors"][1]
    assert best["validation_ap"] == 0.6
    assert best["measured"]["low"] < 0.42 < 0.58 < best["measured"]["high"]
    assert [(d["reference"], d["at"], d["conclusion"]) for d in found["differences"]] == [
        ("base", "equal_resolution", "better"),
        ("control", "equal_resolution", "undecided"),
    ]
    assert [(d["trial"], d["resolution"]) for d in found["front"]] == [("0", "96x96")]


def test_a_search_that_ranks_by_mask_ap_reports_it(http: httpx.Client, database: Database) -> None:
    run_id, lease = search(database, end=False)
    spec = search_spec(score=ScoreSpec(base_resolution=LARGE, accuracy="mask_ap"))
    with database.write() as session:
        session.execute(update(RunRow).values(spec=spec))
        found = {
            trials.get(session, f"{run_id}-{name}").evaluations[1].id: measurement(ap).model_copy(
                update={"ap": 0.9, "mask_ap": ap}
            )
            for name, ap in (("base", 0.3), ("0", 0.4))
        }
        split_evaluations.record(session, lease, FinalSplit.TEST, found)

    report = http.get("/searches/first/report").json()

    assert report["accuracy"] == "mask_ap"
    assert "at 96x96: +10.0 points of mask AP, 95 % interval" in report["verdict"]
    best = next(each for each in report["detectors"] if each["label"] == "best")
    assert (best["validation_ap"], best["measured"]["ap"]) == (0.35, 0.4)
    assert best["measured"]["accuracy"] == "mask_ap"
    pareto = http.get("/searches/first/pareto").json()
    assert pareto["y"] == "mask_ap"
    assert [each["trial"] for each in pareto["front"]] == ["0"]  # the cheapest of equals


def test_a_report_says_by_how_many_images_subnets_were_compared(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database, strategy=PoolSearchSpec(num_images=64))
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.4))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.6))

    notes = http.get("/searches/first/report").json()["notes"]

    assert (
        "Subnets were compared by 64 validation images, which chose the best and the front; what "
        "was measured afterwards is of all images of its split."
    ) in notes


def test_a_reference_is_compared_at_its_best_resolution_too(
    http: httpx.Client, database: Database
) -> None:
    """The control is best at 64x64: 60 % there with half of the MACs, and 55 % at 96x96."""
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.4))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.7, macs=1e9))
    small, large = succeeded("control-1", ap=0.55).evaluations
    done = succeeded("control-1", ap=0.55)
    done = replace(done, evaluations=(replace(small, ap=0.6), large))
    run_trial(database, lease, control_proposal(1), done)

    found = http.get("/searches/first/report").json()

    assert [
        (d["at"], d["resolution"], d["reference_resolution"], round(d["ap"], 2))
        for d in found["differences"]
        if d["reference"] == "control"
    ] == [
        ("equal_resolution", "96x96", "96x96", 0.15),
        ("reference_resolution", "64x64", "64x64", -0.25),
        ("own_best", "96x96", "64x64", 0.1),
    ]
    assert "as long, without teacher) at 96x96: +15.0 points" in found["verdict"]
    assert "as long, without teacher) at 64x64: -25.0 points" in found["verdict"]
    assert "+10.0 points" not in found["verdict"]


def test_the_equal_macs_control_is_compared_where_there_is_one(
    http: httpx.Client, database: Database
) -> None:
    _, lease = search(database, end=False)
    done = succeeded("macs-control-1", ap=0.45, macs=1e9)
    run_trial(database, lease, macs_control_proposal(1), done)
    aps = {"base": 0.42, "t0": 0.5, "control_1": 0.45, "macs_control_1": 0.4}
    measure(database, lease, FinalSplit.TEST, **aps)

    found = http.get("/searches/first/report").json()

    last = found["differences"][-1]
    assert (last["reference"], last["reference_trial"]) == ("equal_macs_control", "macs-control-1")
    assert (last["macs_ratio"], last["conclusion"]) == (1.0, "better")
    assert last["ap"] == pytest.approx(0.1)
    assert (
        "the equal-MACs control (the base pruned at once and trained as long)" in found["verdict"]
    )
    assert "The search gained." in found["verdict"]


def test_finished_detectors_are_reported_and_the_best_of_all_is_compared(
    http: httpx.Client, database: Database
) -> None:
    _, lease = search(database, end=False)
    for number, parent, ap in ((1, "0", 0.7), (2, "1", 0.65)):
        done = succeeded(f"finish-{number}", ap=ap, macs=1e9)
        run_trial(database, lease, finish_proposal(number, parent), done)
    finished = replace(control_proposal(2, "control-1"), change=Finish())
    run_trial(database, lease, finished, succeeded("control-2", ap=0.6))
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget spent")

    found = http.get("/searches/first/report").json()

    assert found["verdict"].startswith(
        "The best detector is trial finish-1, a finishing training of trial 0. Against the base at "
        "96x96: "
    )
    assert [(d["label"], d["trial"]) for d in found["detectors"]] == [
        ("base", "base"),
        ("best", "finish-1"),
        ("finished", "finish-2"),
        ("control", "control-2"),
    ]
    assert {d["reference_trial"] for d in found["differences"]} == {"base", "control-2"}
    assert not any("shorter than the best" in note for note in found["notes"])


def test_the_ranking_of_trials_is_compared_with_that_of_finished_detectors(
    http: httpx.Client, database: Database
) -> None:
    _, lease = search(database, end=False)
    run_trial(database, lease, search_proposal(2), succeeded("2", ap=0.45, macs=1e9))
    for number, parent, ap in ((1, "0", 0.7), (2, "1", 0.65)):
        done = succeeded(f"finish-{number}", ap=ap, macs=1e9)
        run_trial(database, lease, finish_proposal(number, parent), done)
    assert http.get("/searches/first/report").json()["finished_tau"] is None

    done = succeeded("finish-3", ap=0.68, macs=1e9)
    run_trial(database, lease, finish_proposal(3, "2"), done)

    found = http.get("/searches/first/report").json()
    assert found["finished_tau"] == pytest.approx(1 / 3)  # two of three pairs
    assert any(note.startswith("Trials ranked the 3 finished") for note in found["notes"])


@pytest.mark.parametrize(
    ("ap", "note"),
    [
        (0.5, "Finishing did not help: trial 0, which is not finished, has a better score than"),
        (0.7, "control-1 was trained shorter than the best, since it was not finished"),
    ],
    ids=["finishing lost", "the control was not finished"],
)
def test_what_finishing_did_not_do_is_said(
    http: httpx.Client, database: Database, ap: float, note: str
) -> None:
    _, lease = search(database, end=False)
    done = succeeded("finish-1", ap=ap, macs=1e9)
    run_trial(database, lease, finish_proposal(1, "0"), done)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget spent")

    notes = http.get("/searches/first/report").json()["notes"]

    assert [each for each in notes if each.startswith(note)] != []


def test_without_a_test_split_the_gain_may_be_selection(
    http: httpx.Client, database: Database
) -> None:
    _, lease = search(database, end=False)
    measure(database, lease, FinalSplit.VALIDATION, base=0.4, t0=0.6, control_1=0.55)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget spent")

    found = http.get("/searches/first/report").json()

    assert found["split"] == "validation"
    assert "A part of this gain may be selection." in found["verdict"]
    # Two trials that differ by 10 points: 0.56 standard deviations of 7.1 points.
    assert found["expected_optimism"] == pytest.approx(0.04, abs=0.005)
    selection, split, *_ = found["notes"]
    assert "the expected optimism of the best score is 3.8 points at most" in selection
    assert "has no test split" in split


def test_a_search_without_measurements_claims_nothing(
    http: httpx.Client, database: Database
) -> None:
    search(database)

    found = http.get("/searches/first/report").json()

    assert found["num_images"] is None
    assert (
        "Against the base at 96x96: +20.0 points of AP, without an interval, with"
        in found["verdict"]
    )
    assert "Without intervals, a gain cannot be told from chance." in found["verdict"]
    assert {d["conclusion"] for d in found["differences"]} == {"unknown"}
    assert [d["measured"] for d in found["detectors"]] == [None, None, None]


@pytest.mark.parametrize(
    ("teacher_ap", "better", "advised"), [(0.3, 0, True), (0.7, 2, False), (None, 0, False)]
)
def test_weak_teachers_are_named(
    http: httpx.Client, database: Database, teacher_ap: float | None, better: int, advised: bool
) -> None:
    search(database, teacher_ap=teacher_ap)

    found = http.get("/searches/first/report").json()

    assert found["better_teachers"] == better
    assert found["compared_teachers"] == (0 if teacher_ap is None else 2)
    advice = [note for note in found["notes"] if note.startswith("Teachers were better")]
    assert [note.partition(",")[0] for note in advice] == (
        ["Teachers were better than their students in 0 of 2 trials"] if advised else []
    )


def test_a_search_that_runs_has_a_provisional_report(
    http: httpx.Client, database: Database
) -> None:
    search(database, end=False)

    assert http.get("/searches/first/report").json()["notes"][0] == (
        "The search is running; this report is provisional."
    )


def test_there_is_nothing_to_report_before_a_trial_is_accepted(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())

    answer = http.get("/searches/first/report")

    assert answer.status_code == 409
    assert "has no accepted trial yet" in answer.json()["detail"]


def test_points_of_the_front_have_their_ap_on_the_test_split(
    http: httpx.Client, database: Database
) -> None:
    _, lease = search(database, end=False)
    measure(database, lease, FinalSplit.TEST, t0=0.5)

    found = http.get("/searches/first/pareto").json()

    assert found["split"] == "validation"
    tests = {
        (p["trial"], p["evaluation"]["resolution"]): p["test"] and p["test"]["ap"]
        for p in (*found["front"], *found["dominated"])
    }
    assert tests[("0", "96x96")] == 0.5
    assert [ap for ap in tests.values() if ap is not None] == [0.5]


def timed(name: str, macs: float, latency_s: float, cost: float | None = None) -> Report:
    """A success at one resolution with these costs."""
    done = succeeded(name, ap=0.5, macs=macs)
    at = replace(done.evaluations[-1], latency_s=latency_s, cost=cost)
    return replace(done, evaluations=(at,), base_cost=cost)


def test_macs_and_latency_of_the_trials_are_compared(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal(), timed("base", 4e9, 0.030))
    run_trial(database, lease, search_proposal(0), timed("0", 2e9, 0.020))
    run_trial(database, lease, search_proposal(1), timed("1", 1e9, 0.025))

    found = http.get("/searches/first/report").json()["latencies"]

    assert found["source"] == "measured in torch beside the trials"
    assert (found["resolution"], found["prediction_error"]) == ("96x96", None)
    assert found["tau"] == pytest.approx(1 / 3)  # two of three pairs have one order
    assert [each["trial"] for each in found["detectors"]] == ["base", "0", "1"]


def test_a_search_by_latency_reports_what_its_device_measured(
    http: httpx.Client, database: Database
) -> None:
    _, lease = start_search(database)
    score = ScoreSpec.model_validate({"cost": "latency", "device": "laptop"})
    with database.write() as session:
        session.execute(update(RunRow).values(spec=search_spec(score=score)))
    base = run_trial(database, lease, base_proposal(), timed("base", 4e9, 0.030, 0.020))
    best = run_trial(database, lease, search_proposal(0), timed("0", 5e9, 0.020, 0.010))
    with database.write() as session:
        times = {
            trials.get(session, row.id).evaluations[0].id: DeviceLatency(
                median_s=seconds, p95_s=seconds, quiet=True
            )
            for row, seconds in ((base, 0.025), (best, 0.0125))
        }
        trials.record_device_latencies(session, lease, times)

    found = http.get("/searches/first/report").json()

    assert found["latencies"]["source"] == "predicted for device laptop"
    assert found["latencies"]["prediction_error"] == pytest.approx(0.2)
    assert found["latencies"]["tau"] == pytest.approx(-1)
    expected = "On device laptop the best takes 12.5 ms at 96x96, and the base 25 ms at 96x96"
    assert f"{expected} (measured)." in found["notes"]
    front = http.get("/searches/first/pareto").json()
    assert front["x"] == "cost"
    assert [each["trial"] for each in front["front"]] == ["0"]
    assert front["front"][0]["evaluation"]["device_latency_s"] == 0.0125
    assert http.get("/searches/first/pareto?x=macs").json()["front"][0]["trial"] == "base"
