"""What a search found, over HTTP: trials, lineage, the Pareto front, detectors, events."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from searchd import artifacts
from searchd.domain.distillation_methods import MethodName
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.method_set import MethodSet, MutateMethods, WeightedMethod
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import Outcome
from searchd.messages.reports import Report
from searchd.store import Database
from searchd.store.runs import reports, trials
from searchd.store.work import queue
from tests.searchd.store.factories import (
    base_proposal,
    pool_spec,
    progress,
    run_trial,
    scores_of,
    search_proposal,
    start_search,
    succeeded,
)


def test_trials_show_edit_teacher_and_best_resolution(
    http: httpx.Client, database: Database
) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.625))
    base, trial = http.get("/searches/first/trials").json()["items"]
    assert (base["name"], base["teacher"], base["parent_id"]) == ("base", None, None)
    assert trial["parent_id"] == f"{search.id}-base"
    assert trial["change"] == "mutate the teacher"
    assert trial["teacher"] == "d2-2-2-2 w1/1/1/1 n256"
    assert (trial["status"], trial["score"]) == ("succeeded", 0.625)
    assert (trial["best"]["resolution"], trial["best"]["ap"]) == ("96x96", 0.625)
    assert [e["resolution"] for e in trial["evaluations"]] == ["64x64", "96x96"]
    assert trial["encoding"].startswith("[(64, 64)-(64, 64)], [(128, 128)")


def test_a_trial_shows_the_methods_that_its_search_gave_it(
    http: httpx.Client, database: Database
) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    cwd = WeightedMethod(name=MethodName.CWD, weight=2.5)
    change = MutateMethods(added=cwd, removed=MethodName.CWD)
    methods = MethodSet(methods=(cwd,))
    run_trial(database, lease, search_proposal(0, change=change, methods=methods))
    base, trial = http.get("/searches/first/trials").json()["items"]
    assert (base["methods"], trial["methods"]) == (None, "cwd 2.5")
    assert trial["change"] == "methods: cwd with weight 2.5"
    assert trial["proposal"]["methods"] == {"methods": [{"name": "cwd", "weight": 2.5}]}
    alone = http.get("/searches/first/trials?fields=id,methods").json()["items"][1]
    assert alone == {"id": f"{search.id}-0", "methods": "cwd 2.5"}


def test_a_running_trial_shows_its_progress(http: httpx.Client, database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
        trials.record_progress(session, lease, progress("base"))
    trial = http.get(f"/trials/{search.id}-base").json()
    assert trial["status"] == "running"
    assert trial["progress"]["losses"] == {"loss": 0.75}
    assert (trial["best"], trial["encoding"]) == (None, None)


def test_a_trial_shows_the_candidate_that_its_worker_chose(
    http: httpx.Client, database: Database
) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    space = pool_spec().space.space
    candidates = TeacherCandidates(candidates=(space.smallest, space.largest))
    with database.write() as session:
        trials.add(session, lease, search_proposal(0, teacher=candidates))
        trials.start(session, lease, "0")
    running = http.get(f"/trials/{search.id}-0").json()
    assert (running["teacher"], running["chosen_teacher"]) == ("nearest of 2", None)

    report = replace(succeeded("0"), chosen_teacher=space.largest)
    with database.write() as session:
        reports.record(session, lease, report, scores_of(report))
    ended = http.get(f"/trials/{search.id}-0").json()
    assert ended["teacher"] == str(space.largest)
    assert ended["chosen_teacher"]["neck_channels"] == space.largest.neck_channels
    assert len(ended["proposal"]["teacher"]["candidates"]) == 2


def test_a_trial_has_its_epochs_and_artifacts(http: httpx.Client, database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    trial = http.get(f"/trials/{search.id}-base").json()
    assert [epoch["losses"] for epoch in trial["epochs"]] == [{"loss": 1.5}, {"loss": 0.75}]
    assert [file["name"] for file in trial["artifacts"]] == ["student", "adapters"]
    assert trial["detector"]["num_classes"] == 4


def test_a_search_counts_its_trials_and_names_the_best(
    http: httpx.Client, database: Database
) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.25))
    run_trial(database, lease, search_proposal(1), succeeded("1", ap=0.75))
    found = http.get("/searches/first").json()
    assert found["trials"] == {"succeeded": 3}
    assert (found["best_trial_id"], found["best_score"]) == (f"{search.id}-1", 0.75)


def test_lineage_shows_what_each_edit_gained(http: httpx.Client, database: Database) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.5))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.75))
    no_op = Report(trial="1", attempt=1, outcome=Outcome.NO_OP, reason="nothing to prune")
    run_trial(database, lease, search_proposal(1, parent="0"), no_op)
    nodes = http.get("/searches/first/lineage").json()["trials"]
    assert [(n["name"], n["status"], n["gain"]) for n in nodes] == [
        ("base", "succeeded", None),
        ("0", "succeeded", 0.25),
        ("1", "skipped", None),
    ]


def test_the_front_holds_what_nothing_beats_in_cost_and_accuracy(
    http: httpx.Client, database: Database
) -> None:
    # Points (GMACs, AP) of each trial: at half the size half of both.
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.5, macs=4e9))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.75, macs=2e9))
    run_trial(database, lease, search_proposal(1), succeeded("1", ap=0.875, macs=8e9))
    front = http.get("/searches/first/pareto", params={"x": "macs", "y": "ap"}).json()
    points = [(p["trial"], p["evaluation"]["macs"], p["evaluation"]["ap"]) for p in front["front"]]
    assert points == [("0", 1e9, 0.375), ("0", 2e9, 0.75), ("1", 8e9, 0.875)]
    others = [(p["trial"], p["evaluation"]["resolution"]) for p in front["dominated"]]
    assert others == [("base", "64x64"), ("base", "96x96"), ("1", "64x64")]


def test_the_front_has_other_axes(http: httpx.Client, database: Database) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    small = replace(succeeded("0", ap=0.25), params=1000)
    run_trial(database, lease, search_proposal(0), small)
    front = http.get("/searches/first/pareto", params={"x": "params", "y": "ap50"}).json()
    assert [(p["trial"], p["params"]) for p in front["front"]] == [("0", 1000)]
    assert http.get("/searches/first/pareto", params={"x": "price"}).status_code == 422


def test_a_search_without_trials_has_an_empty_front(http: httpx.Client, database: Database) -> None:
    start_search(database)
    front = http.get("/searches/first/pareto").json()
    assert (front["x"], front["y"], front["split"]) == ("macs", "ap", "validation")
    assert (front["front"], front["dominated"]) == ([], [])


def _store_student(database: Database, folder: Path, content: bytes) -> str:
    """A search whose base trial has stored this content as its student; the trial's id."""
    search, lease = start_search(database)
    student = artifacts.write(str(folder / "student.safetensors"), content, name="student")
    run_trial(database, lease, base_proposal(), replace(succeeded("base"), artifacts=(student,)))
    return f"{search.id}-base"


def test_a_detector_names_its_files_and_lineage(
    http: httpx.Client, database: Database, tmp_path: Path
) -> None:
    trial_id = _store_student(database, tmp_path, b"weights")
    detector = http.get(f"/detectors/{trial_id}").json()
    assert (detector["search"], detector["lineage"]) == ("first", [trial_id])
    assert detector["params"] == 12_345_678
    (file,) = detector["artifacts"]
    assert (file["name"], file["size_bytes"]) == ("student", 7)
    assert file["sha256"] == hashlib.sha256(b"weights").hexdigest()


def test_a_download_is_the_file_with_its_digest(
    http: httpx.Client, database: Database, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 10_000  # several chunks
    trial_id = _store_student(database, tmp_path, content)
    response = http.get(f"/detectors/{trial_id}/artifacts/student")
    assert response.content == content
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert response.headers["content-length"] == "2560000"
    assert f"{trial_id}-student.safetensors" in response.headers["content-disposition"]


def test_a_file_that_was_lost_is_gone(
    http: httpx.Client, database: Database, tmp_path: Path
) -> None:
    trial_id = _store_student(database, tmp_path, b"weights")
    (tmp_path / "student.safetensors").unlink()
    response = http.get(f"/detectors/{trial_id}/artifacts/student")
    assert (response.status_code, response.json()["type"]) == (410, "urn:searchd:problem:artifact")


def test_an_unknown_file_is_not_found_and_the_known_ones_are_named(
    http: httpx.Client, database: Database, tmp_path: Path
) -> None:
    trial_id = _store_student(database, tmp_path, b"weights")
    response = http.get(f"/detectors/{trial_id}/artifacts/onnx")
    assert response.status_code == 404
    assert response.json()["detail"] == f"trial {trial_id} has no artifact 'onnx'; it has: student"


def test_an_unfinished_trial_has_no_detector(http: httpx.Client, database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
    response = http.get(f"/detectors/{search.id}-base")
    assert response.status_code == 409
    assert response.json()["detail"] == f"trial {search.id}-base is pending and has no detector"


@pytest.mark.parametrize(("last", "numbers"), [(None, [1, 2, 3, 4, 5]), ("3", [4, 5])])
def test_events_end_with_the_search_and_continue_after_the_last_one_seen(
    http: httpx.Client, database: Database, last: str | None, numbers: list[int]
) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    headers = {} if last is None else {"Last-Event-ID": last}
    response = http.get("/searches/first/events", headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.splitlines()
    assert [int(line[4:]) for line in lines if line.startswith("id: ")] == numbers
    assert '"status":"succeeded","message":"converged"' in response.text.replace(": ", ":").replace(
        ", ", ","
    )
