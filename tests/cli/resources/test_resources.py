"""Data sets, pools and searches from the command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save

from detection.build import build_detector
from searchd import artifacts
from searchd.domain.distillation_methods import MethodName
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, SearchStatus
from searchd.domain.method_set import MethodSet, WeightedMethod
from searchd.store import Database, paging
from searchd.store.models import SearchRow
from searchd.store.resources import datasets, pools
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    base_proposal,
    detector,
    leased,
    pool_report,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
    with_measured_phase,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are built


def _write(folder: Path, text: str) -> Path:
    file = folder / "spec.yaml"
    file.write_text(text)
    return file


def _shapes(folder: Path) -> list[str]:
    """Options that name the four parts of a data set which lies in `folder`."""
    (folder / "images").mkdir()
    (folder / "a.json").write_text("{}")
    return [
        f"--{split}-{part}={folder / name}"
        for split in ("train", "validation")
        for part, name in (("annotations", "a.json"), ("images", "images"))
    ]


def test_a_data_set_is_registered_by_its_folder(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    options = ("--data-format", "voc", "--seed", 7, "--no-wait", "--format", "json")

    result = searchd("dataset", "add", "mine", tmp_path, *options)

    assert result.exit_code == 0
    with database.read() as session:
        source = datasets.get(session, "mine").spec.source
    assert source is not None
    assert (source.paths, source.format, source.seed) == ((tmp_path,), "voc", 7)


def test_a_data_set_needs_paths_or_all_four_parts(searchd: Run, tmp_path: Path) -> None:
    parts = _shapes(tmp_path)

    for arguments in ([], parts[:3], [tmp_path, *parts]):
        result = searchd("dataset", "add", "mine", *arguments, "--no-wait")
        assert result.exit_code == 2
        assert "either PATH" in result.stderr


def test_a_data_set_is_registered_by_its_parts(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    result = searchd("dataset", "add", "mine", *_shapes(tmp_path), "--no-wait", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "checking"
    with database.read() as session:
        spec = datasets.get(session, "mine").spec
    assert spec.train.annotations == tmp_path / "a.json"
    assert spec.validation.images == tmp_path / "images"


def test_a_refused_data_set_fails_the_command(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    options = _shapes(tmp_path)
    searchd("dataset", "add", "mine", *options, "--no-wait", "--key", "k")
    with database.read() as session:
        dataset_id = datasets.get(session, "mine").id
    with leased(database, f"dataset_check-{dataset_id}") as (session, lease):
        queue.finish(session, lease, DatasetStatus.FAILED, "a.json: no images")
    result = searchd("dataset", "add", "mine", *options, "--key", "k")
    assert result.exit_code == 1
    assert result.stderr == "error: data set mine was refused: a.json: no images\n"


def test_resources_are_listed_and_shown(searchd: Run, database: Database) -> None:
    add_search(database)
    assert "every check passed" in searchd("dataset", "list").stdout
    assert "a, b, c, d" in searchd("dataset", "show", "shapes").stdout
    assert "trained; 2 subnets evaluated" in searchd("pool", "list", "--status", "ready").stdout
    assert "50.0 %" in searchd("pool", "show", "teachers").stdout
    assert "waits for admission" in searchd("search", "list").stdout
    shown = json.loads(searchd("search", "show", "first", "--format", "json").stdout)
    assert (shown["name"], shown["status"]) == ("first", "queued")


def test_a_pool_is_created_from_yaml_with_changes(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    file = _write(tmp_path, "name: teachers\ndataset: none\ntraining: {learning_rate: 1e-2}\n")
    result = searchd("pool", "create", file, "--dataset", "shapes", "--name", "others")
    assert result.exit_code == 0, result.stderr
    with database.read() as session:
        row = pools.get(session, "others")
    assert (row.status, row.spec.training.learning_rate) == (PoolStatus.QUEUED, 0.01)


def test_a_search_is_submitted_once_per_key(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    add_pool(database)
    file = _write(tmp_path, '{"name": "s", "dataset": "shapes", "pool": "teachers"}')
    for _ in range(2):
        result = searchd("search", "submit", file, "--seed", 7, "--key", "k")
        assert result.exit_code == 0, result.stderr
    with database.read() as session:
        (row,) = paging.page(session, SearchRow).items
    assert row.spec.seed == 7


def test_a_search_is_submitted_with_a_priority(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    add_pool(database)
    fields = {"name": "s", "dataset": "shapes", "pool": "teachers", "priority": 1}

    result = searchd("search", "submit", _write(tmp_path, json.dumps(fields)), "--priority", 5)

    assert result.exit_code == 0, result.stderr
    with database.read() as session:
        (row,) = paging.page(session, SearchRow).items
        assert (row.spec.priority, queue.of_resource(session, row.id).priority) == (5, 5)


def test_validate_only_submits_nothing(searchd: Run, database: Database, tmp_path: Path) -> None:
    add_dataset(database)
    add_pool(database)
    file = _write(tmp_path, "name: s\ndataset: shapes\npool: teachers\n")
    result = searchd("search", "submit", file, "--validate-only")
    assert (result.exit_code, result.stdout) == (0, "")
    with database.read() as session:
        assert paging.page(session, SearchRow).items == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: s\nbudget: {patience: 0}\n", "budget.patience: must be at least 1, not 0"),
        ("name: s\nsed: 1\n", "sed: unknown field"),
        ("just words", "must have fields and values"),
        ("name: [", "neither YAML nor JSON"),
    ],
)
def test_a_spec_that_is_not_valid_is_a_usage_error(
    offline: Run, tmp_path: Path, text: str, message: str
) -> None:
    result = offline("search", "submit", _write(tmp_path, text))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_watching_prints_every_event_and_ends_with_the_search(
    searchd: Run, database: Database
) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    result = searchd("search", "watch", "first")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[3] for line in lines] == [
        "queued",
        "queued",
        "preparing",
        "running",
        "succeeded",
    ]
    as_json = searchd("search", "watch", "first", "--format", "json").stdout.splitlines()
    assert json.loads(as_json[-1])["message"] == "converged"


def test_watching_what_fails_fails(searchd: Run, database: Database) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        queue.give_up(session, lease, "crashed 5 times")
    result = searchd("search", "watch", "first")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: search first is failed: crashed 5 times\n",
    )


def test_a_pool_is_continued_as_a_new_one(searchd: Run, database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    result = searchd("pool", "extend", "teachers", "--epochs", "7", "--phase", "supernet")
    assert result.exit_code == 0
    assert "teachers-2" in result.stdout
    with database.read() as session:
        spec = pools.get(session, "teachers-2").spec
    assert spec.start_from == "teachers"
    assert [(phase.name, phase.epochs) for phase in spec.phases] == [("supernet", 7)]
    unknown = searchd("pool", "extend", "teachers", "--epochs", "7", "--phase", "shrink")
    assert unknown.exit_code == 2
    assert "phase 'shrink' does not exist" in unknown.output
    early = searchd("pool", "extend", "teachers-2", "--epochs", "7")
    assert "pool teachers-2 is queued, not ready" in early.output


def test_a_pool_shows_the_ap_of_its_subnets_after_each_phase(
    searchd: Run, database: Database
) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    with leased(database, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, with_measured_phase(pool_report(pool_id)))
    shown = searchd("pool", "show", "teachers").stdout
    assert "AP after supernet" in shown
    assert "40.0 % of the largest, 30.0 % of the smallest subnet at 96x96" in shown
    assert "AP after shrink-1" not in shown


def test_watching_a_pool_ends_when_it_is_ready(searchd: Run, database: Database) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    with leased(database, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, pool_report(pool_id))
    assert searchd("pool", "watch", "teachers").exit_code == 0


def test_searches_and_pools_are_paused_resumed_killed_and_extended(
    searchd: Run, database: Database
) -> None:
    add_dataset(database)
    add_pool(database, ready=False)
    add_search(database)
    for noun, name in (("search", "first"), ("pool", "teachers")):
        for verb, status in (("pause", "paused"), ("resume", "queued"), ("kill", "cancelled")):
            result = searchd(noun, verb, name, "--format", "json")
            assert json.loads(result.stdout)["status"] == status
    result = searchd("search", "extend", "first", "--max-trials", 7, "--format", "json")
    extended = json.loads(result.stdout)
    assert (extended["status"], extended["budget"]["max_trials"]) == ("queued", 7)
    assert searchd("search", "cancel", "first").exit_code == 0


def test_what_has_ended_cannot_be_cancelled(searchd: Run, database: Database) -> None:
    add_search(database)
    result = searchd("pool", "cancel", "teachers")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: teachers is ready already and cannot be cancelled\n",
    )


def test_trials_pareto_and_lineage_show_what_was_found(searchd: Run, database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.5))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.75))
    trials = searchd("search", "trials", "first").stdout.splitlines()
    assert trials[0].split()[:3] == ["TRIAL", "PARENT", "CHANGE"]
    assert trials[2].split()[:2] == ["0", "base"]
    assert "75.0" in trials[2]
    front = searchd("search", "pareto", "first").stdout.splitlines()
    assert [line.split()[0] for line in front[1:]] == [f"{search.id}-0"] * 2
    as_json = json.loads(searchd("search", "pareto", "first", "--format", "json").stdout)
    assert as_json["front"][1]["evaluation"]["ap"] == 0.75
    assert searchd("search", "lineage", "first").stdout.splitlines() == [
        "base: train  50.00",
        "  0: mutate the teacher  75.00  +25.00",
    ]


def test_trials_show_their_methods_if_the_search_searches_them(
    searchd: Run, database: Database
) -> None:
    search, lease = start_search(database, distillation="search")
    methods = MethodSet(methods=(WeightedMethod(name=MethodName.CWD, weight=2.5),))
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0, methods=methods))
    header, base, first = searchd(
        "search", "trials", "first", "--format", "csv"
    ).stdout.splitlines()
    assert (header.split(",")[-1], base.split(",")[-1]) == ("METHODS", "")
    assert first.endswith(",cwd 2.5")
    shown = searchd("search", "trial", f"{search.id}-0").stdout.splitlines()
    assert ["methods", "cwd", "2.5"] in [line.split() for line in shown]


def test_export_writes_the_best_detector_for_plain_mmdet(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    search, lease = start_search(database)
    weights = build_detector(detector()).state_dict()
    stored = artifacts.write(str(tmp_path / "stored"), save(weights), name="student")
    report = replace(succeeded("0"), artifacts=(stored,))
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0), report)
    result = searchd("search", "export", "first", "--folder", tmp_path / "out", "--format", "json")
    assert result.exit_code == 0, result.stderr
    files = json.loads(result.stdout)
    assert files == {
        "detector": f"{search.id}-0",
        "config": str(tmp_path / "out/config.py"),
        "checkpoint": str(tmp_path / "out/checkpoint.pth"),
        "weights": str(tmp_path / "out/model.safetensors"),
    }
    assert load_file(files["weights"]).keys() == weights.keys()
    assert "ArchitectureBackbone" in Path(files["config"]).read_text()


def test_export_of_a_search_without_detectors_fails(searchd: Run, database: Database) -> None:
    start_search(database)
    result = searchd("search", "export", "first")
    assert (result.exit_code, result.stderr) == (1, "error: search first has no detector yet\n")


def test_what_does_not_exist_and_an_absent_service_are_one_line(searchd: Run, offline: Run) -> None:
    result = searchd("search", "show", "x")
    assert (result.exit_code, result.stderr) == (1, "error: search 'x' does not exist\n")
    result = offline("search", "list", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "start one with: searchd up" in result.stderr


def test_forecast_says_what_a_search_would_take_and_fails_if_it_would_be_refused(
    searchd: Run, tmp_path: Path
) -> None:
    file = tmp_path / "search.yaml"
    file.write_text("name: first\ndataset: nowhere\npool: teachers\n")

    result = searchd("search", "forecast", str(file))

    assert result.exit_code == 1
    assert "21 to 100" in result.stdout
    assert "dataset: data set 'nowhere' does not exist" in result.stdout


def test_forecasts_of_pools_and_distillations_say_what_they_would_take(
    searchd: Run, tmp_path: Path
) -> None:
    pool = tmp_path / "pool.yaml"
    pool.write_text("name: teachers\ndataset: nowhere\n")
    distillation = tmp_path / "distillation.yaml"
    distillation.write_text(
        "name: mtpd\ndataset: nowhere\npool: teachers\nstudent: {base: {}}\n"
        "num_sampled_teachers: 3\n"
    )

    of_pool = searchd("pool", "forecast", str(pool))
    of_distillation = searchd("distillation", "forecast", str(distillation))

    assert (of_pool.exit_code, of_distillation.exit_code) == (1, 1)
    assert "108" in of_pool.stdout
    assert "1 to 2" in of_distillation.stdout
    assert "dataset: data set 'nowhere' does not exist" in of_distillation.stdout
