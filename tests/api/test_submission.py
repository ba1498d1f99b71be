"""What submission checks besides the spec: files, checkpoints and the nodes of the cluster."""

import json
import threading
import unicodedata
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cluster import Cluster
from api.data_roots import check_distillation
from api.submission import SubmissionChecks, paths_of
from searchd.domain.capacity import ANY, Growth, Node, NodeGroup
from searchd.domain.errors import InvalidValueError
from searchd.domain.sinks import SinkKind
from searchd.settings import Settings
from searchd.spec import (
    BaseSpec,
    DatasetImport,
    DatasetSpec,
    MethodsSpec,
    MmdetSpec,
    PoolSpec,
    ResourcesSpec,
    SearchSpec,
    SplitSpec,
    TeacherSpec,
    TeacherTrainingSpec,
)
from tests.api.service import serve
from tests.searchd.store import factories
from tests.searchd.store.factories import add_dataset, add_pool

FILES = SubmissionChecks(files=True)


class Nodes(Cluster):
    """A cluster with these nodes; None if it does not answer."""

    def __init__(self, *nodes: Node, answers: bool = True) -> None:
        super().__init__("http://127.0.0.1:9")
        self._nodes = list(nodes) if answers else None

    def nodes(self) -> list[Node] | None:
        return self._nodes


TWO_CORES = Nodes(Node(cpus=2, gpus=0))


TRAINING = TeacherTrainingSpec(backbone="resnet101")


def teacher(checkpoint: str | Path) -> TeacherSpec:
    mmdet = MmdetSpec(config="retinanet_r50_fpn_1x_coco", checkpoint=Path(checkpoint))
    return TeacherSpec(name="t", dataset="d", mmdet=mmdet)


def search(**fields: Any) -> SearchSpec:
    return SearchSpec(name="s", dataset="d", pool="p", **fields)


def refusal(checkpoint: str | Path) -> str:
    """The message about a teacher with this checkpoint."""
    with pytest.raises(InvalidValueError) as refused:
        FILES.check(teacher(checkpoint))
    return str(refused.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "weights.pth",
            '"weights.pth" is relative; it must be absolute, such as /data/weights.pth',
        ),
        ("", "is empty; give an absolute path, such as /data/file"),
        (
            "https://download.openmmlab.com/a.pth",
            '"https:/download.openmmlab.com/a.pth" is a URL; download the file first, and give its '
            "path",
        ),
        (
            "s3://bucket/a.pth",
            '"s3:/bucket/a.pth" is a URL; download the file first, and give its path',
        ),
        ("file:///data/a.pth", '"file:/data/a.pth" is a URL; write /data/a.pth'),
        (
            r"C:\weights\a.pth",
            r'"C:\weights\a.pth" is a path of Windows; give the path on the machine of the '
            "service, such as /data/file",
        ),
        ("~/a.pth", '"~/a.pth" is not expanded; write "/home/somebody/a.pth"'),
        ("$HOME/a.pth", '"$HOME/a.pth" is not expanded; write "/home/somebody/a.pth"'),
        ("${WEIGHTS}/a.pth", '"${WEIGHTS}/a.pth" is not expanded; write the absolute path'),
    ],
)
def test_a_path_that_is_not_absolute_is_refused_with_what_to_write(
    path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")

    assert refusal(path) == f"mmdet.checkpoint: {message}"


def test_a_missing_file_is_refused_with_the_similar_one(tmp_path: Path) -> None:
    (tmp_path / "Weights").mkdir()
    (tmp_path / "Weights/epoch_12.pth").touch()
    there = f'"{tmp_path}/Weights/epoch_12.pth"'

    def message(path: str) -> str:
        return refusal(tmp_path / path).replace(f'mmdet.checkpoint: "{tmp_path / path}" ', "")

    assert message("weights/epoch_12.pth") == (
        f"does not exist; upper and lower case differ from {there}"
    )
    assert message("Weights/epoch_12.pth ") == (
        f"does not exist; spaces at the beginning or end differ from {there}"
    )
    assert message("Weights/epoch_11.pth") == f"does not exist; did you mean {there}"
    assert message("Weights\\epoch_12.pth") == (
        "does not exist; it has backslashes: separate folders by /"
    )
    assert message("nowhere/x/y.pth") == f'does not exist; there is no "{tmp_path}/nowhere"'
    assert message("Weights/labels") == "does not exist"


def test_another_unicode_form_of_a_name_is_named(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "prüfung.pth")).touch()

    found = refusal(tmp_path / unicodedata.normalize("NFC", "prüfung.pth"))

    assert "does not exist; the name has another Unicode form (NFC or NFD) than " in found


def test_every_file_of_a_data_set_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "train.json").touch()
    images = tmp_path / "images"
    train = SplitSpec(annotations=tmp_path / "train.json", images=images)
    swapped = SplitSpec(annotations=images, images=tmp_path / "train.json")

    assert FILES.check(DatasetSpec(name="d", train=train, validation=train)) == []
    with pytest.raises(InvalidValueError) as refused:
        FILES.check(DatasetSpec(name="d", train=train, validation=swapped))

    assert str(refused.value) == (
        f'validation.annotations: "{images}" is a folder; it must be a file; '
        f'validation.images: "{tmp_path}/train.json" is a file; it must be a folder'
    )


def test_only_the_source_of_a_data_set_in_any_format_must_be_there(tmp_path: Path) -> None:
    stored = DatasetImport(name="d", paths=(tmp_path,)).stored_below("/artifacts")

    assert FILES.check(stored) == []
    with pytest.raises(InvalidValueError, match=r"^paths\[0\]: \"/nowhere/x\" does not exist"):
        FILES.check(DatasetImport(name="d", paths=(Path("/nowhere/x"),)))


def test_the_paths_of_a_search_are_those_of_its_base_and_its_classifiers() -> None:
    options = {"classifier": "/data/classifier.pth"}
    spec = search(
        base=BaseSpec(backbone=None, mmdet=MmdetSpec(config="c", checkpoint=Path("/data/a.pth"))),
        distillation=MethodsSpec(methods=({"name": "dicod_classification", "options": options},)),
    )

    assert list(paths_of(spec)) == [
        ("base.mmdet.checkpoint", Path("/data/a.pth")),
        ("distillation.methods[0].options.classifier", Path("/data/classifier.pth")),
    ]


def test_the_paths_of_a_sweep_are_those_of_all_its_values() -> None:
    first, second = "/data/a", "/data/b"
    method = {"name": "dicod_classification", "options": {"classifier": first}}
    field = "distillation.methods.dicod_classification.options.classifier"
    spec = factories.distillation_spec(
        distillation={"methods": [method]}, sweep={"field": field, "values": [second]}
    )

    classifier = "distillation.methods[0].options.classifier"
    assert list(paths_of(spec)) == [(classifier, Path(first)), (classifier, Path(second))]
    with pytest.raises(InvalidValueError, match="'/data/b' must be an absolute path"):
        check_distillation(spec, (Path("/data/a"),))


def loaded(checkpoint: Path) -> SearchSpec:
    mmdet = MmdetSpec(config="retinanet_r50_fpn_1x_coco", checkpoint=checkpoint)
    return search(base=BaseSpec(mmdet=mmdet))


def test_checkpoint_that_is_a_web_page_is_refused_at_submission(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("<!DOCTYPE html><html><body>404</body></html>")

    with pytest.raises(InvalidValueError, match="HTML"):
        FILES.completed(loaded(tmp_path / "a.pth"))


def test_checkpoint_on_a_disk_of_the_workers_is_left_to_them() -> None:
    spec = loaded(Path("/disk-of-the-workers/a.pth"))

    assert SubmissionChecks(files=False).completed(spec) is spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            search(resources=ResourcesSpec(gpus_per_trial=1)),
            "unschedulable: each trial needs 1 CPUs and 1 GPUs, and the cluster has capacity for 0 "
            "of 1; its nodes have 2 CPUs and 0 GPUs",
        ),
        (
            search(resources=ResourcesSpec(cpus_per_trial=64)),
            "unschedulable: each trial needs 64 CPUs and 0 GPUs, and the cluster has capacity for "
            "0 of 1; its nodes have 2 CPUs and 0 GPUs",
        ),
        (
            PoolSpec(name="p", dataset="d", num_workers=3),
            "unschedulable: each worker needs 1 CPUs and 0 GPUs, and the cluster has capacity for "
            "2 of 3; its nodes have 2 CPUs and 0 GPUs",
        ),
    ],
)
def test_work_that_the_nodes_can_never_run_is_refused_with_what_they_have(
    spec: SearchSpec | PoolSpec, message: str
) -> None:
    with pytest.raises(InvalidValueError) as refused:
        SubmissionChecks(cluster=TWO_CORES).check(spec)

    assert str(refused.value) == message


def test_a_cluster_that_does_not_answer_causes_a_warning() -> None:
    warning = "the cluster does not answer: its CPUs and GPUs were not checked"
    gpus = search(resources=ResourcesSpec(gpus_per_trial=1))

    assert SubmissionChecks(cluster=Nodes(answers=False)).check(gpus) == [warning]
    assert SubmissionChecks(cluster=Nodes()).check(gpus) == [warning]
    assert SubmissionChecks(cluster=TWO_CORES).check(search()) == []


class Dashboard(BaseHTTPRequestHandler):
    """Answers as Ray's dashboard lists nodes, with the token "t" only."""

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Bearer t"
        alive = {"state": "ALIVE", "resources_total": {"CPU": 16.0, "GPU": 2.0, "memory": 1e9}}
        dead = {"state": "DEAD", "resources_total": {"CPU": 64.0}}
        starting = {"state": "ALIVE", "resources_total": None}
        listed = {"result": {"total": 3, "result": [alive, dead, starting]}}
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"result": True, "data": listed}).encode())

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def dashboard() -> Iterator[str]:
    """URL of a dashboard."""
    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_nodes_that_are_alive_are_read_from_the_dashboard(
    dashboard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")

    assert Cluster(dashboard).nodes() == [Node(cpus=16, gpus=2), Node(cpus=0, gpus=0)]


def test_a_dashboard_that_refuses_or_is_away_lists_no_nodes(dashboard: str) -> None:
    assert Cluster(dashboard).nodes() is None
    assert Cluster("http://127.0.0.1:9").nodes() is None


def test_the_api_refuses_what_the_checks_find(tmp_path: Path) -> None:
    with serve(tmp_path, checks=SubmissionChecks(files=True, cluster=TWO_CORES)) as service:
        add_dataset(service.database)
        add_pool(service.database)
        with httpx.Client(base_url=f"{service.url}/api/v1") as http:
            _check_what_is_refused(http)


def _check_what_is_refused(http: httpx.Client) -> None:
    body = {"name": "s", "dataset": "shapes", "pool": "teachers"}
    gpus = {**body, "resources": {"gpus_per_trial": 1}}

    accepted = http.post("/searches", json=body, params={"validate_only": True})
    refused = http.post("/searches", json=gpus, params={"validate_only": True})
    submitted = http.post("/searches", json=gpus)
    forecast = http.post("/searches/forecast", json=gpus).json()
    paths = http.post("/datasets", json={"name": "d", "paths": ["/nowhere/x"]})

    assert (accepted.status_code, accepted.json()) == (200, {"warnings": []})
    assert (refused.status_code, submitted.status_code, paths.status_code) == (422, 422, 422)
    assert refused.json()["detail"].endswith("its nodes have 2 CPUs and 0 GPUs")
    assert forecast["refusals"] == [refused.json()["detail"]]
    assert paths.json()["detail"] == 'paths[0]: "/nowhere/x" does not exist; there is no "/nowhere"'


EIGHT_GPU_NODES = Growth(groups=(NodeGroup(count=8, cpus=16, gpus=1),))


def test_work_waits_for_nodes_that_may_still_join_and_says_which() -> None:
    gpus = search(resources=ResourcesSpec(gpus_per_trial=1))
    waits = (
        "waits for nodes: each trial needs 1 CPUs and 1 GPUs, and the cluster has capacity for 0 "
        "of 1; its nodes have 2 CPUs and 0 GPUs"
    )

    assert SubmissionChecks(cluster=TWO_CORES, growth=EIGHT_GPU_NODES).check(gpus) == [waits]
    assert SubmissionChecks(cluster=TWO_CORES, growth=ANY).check(gpus) == [waits]


def test_work_that_no_allowed_node_could_hold_is_refused_while_none_has_joined() -> None:
    pool = PoolSpec(name="p", dataset="d", num_workers=9, gpus_per_worker=1)

    with pytest.raises(InvalidValueError) as refused:
        SubmissionChecks(cluster=Nodes(), growth=EIGHT_GPU_NODES).check(pool)

    assert str(refused.value) == (
        "unschedulable: each worker needs 1 CPUs and 1 GPUs, and the cluster may have capacity for "
        "8 of 9; SEARCHD_CLUSTER_NODES allows 8 with 16 CPUs and 1 GPUs"
    )


def test_gpus_that_a_trial_could_not_use_are_refused() -> None:
    two = search(resources=ResourcesSpec(gpus_per_trial=2))

    with pytest.raises(InvalidValueError, match="each trial asks for 2 GPUs, and it trains on one"):
        SubmissionChecks().check(two)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            search(resources=ResourcesSpec(gpus_per_trial=2)),
            "resources.gpus_per_trial: each trial asks for 2 GPUs, and it trains on one: give "
            "gpus_per_trial: 1; further GPUs are used by more trials_in_flight",
        ),
        (
            PoolSpec(name="p", dataset="d", num_workers=2, gpus_per_worker=4),
            "gpus_per_worker: each worker asks for 4 GPUs, and it trains on one: give "
            "gpus_per_worker: 1 and num_workers: 8",
        ),
        (
            TeacherSpec(name="t", dataset="d", train=TRAINING, gpus=1.5),
            "gpus: each teacher asks for 1.5 GPUs, and it trains on one: give gpus: 1",
        ),
        (
            PoolSpec(name="p", dataset="d", num_workers=2, gpus_per_worker=0.5),
            "gpus_per_worker: each of 2 workers asks for 0.5 of a GPU, but those that share one "
            "cannot train together (NCCL): give gpus_per_worker: 1, or num_workers: 1",
        ),
    ],
)
def test_gpus_that_work_could_not_use_are_refused_with_the_field_and_what_to_give(
    spec: SearchSpec | PoolSpec | TeacherSpec, message: str
) -> None:
    with pytest.raises(InvalidValueError) as refused:
        SubmissionChecks().check(spec)

    assert str(refused.value) == message


@pytest.mark.parametrize(
    "spec",
    [
        search(resources=ResourcesSpec(gpus_per_trial=0.25)),
        PoolSpec(name="p", dataset="d", num_workers=8, gpus_per_worker=1),
        PoolSpec(name="p", dataset="d", gpus_per_worker=0.5),
        TeacherSpec(name="t", dataset="d", train=TRAINING, gpus=0.5),
    ],
)
def test_fractions_of_a_gpu_and_one_for_each_worker_are_accepted(
    spec: SearchSpec | PoolSpec | TeacherSpec,
) -> None:
    assert SubmissionChecks().check(spec) == []


def test_a_sink_that_has_nowhere_to_write_is_refused_with_what_to_do() -> None:
    checks = SubmissionChecks(sinks=Settings().usable_sinks)
    spec = SearchSpec(name="first", dataset="shapes", pool="teachers")
    with pytest.raises(InvalidValueError) as refused:
        checks.check(spec.model_copy(update={"sinks": (SinkKind.WANDB, SinkKind.MLFLOW)}))
    assert str(refused.value) == (
        "sinks[1]: this service has no mlflow server; leave mlflow out, or let the operator set "
        "SEARCHD_MLFLOW_TRACKING_URI"
    )
    assert checks.check(spec.model_copy(update={"sinks": (SinkKind.WANDB,)})) == []
