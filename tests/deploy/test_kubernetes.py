"""deploy/kubernetes as kubectl renders it: valid by the schemas of Kubernetes and of KubeRay, and
every name that it uses exists. No cluster is run. The tools are those of the extra `deploy`.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.scripts.scripts import cli as ray_cli

from searchd.settings import Settings
from tests.deploy.compose import ROOT

kubernetes_validate = pytest.importorskip("kubernetes_validate")  # of the extra `deploy`

pytestmark = pytest.mark.deploy
TOOLS = Path(sys.executable).parent
VERSION = "1.33"
RAYCLUSTER = Path(__file__).parent / "schemas" / "raycluster.json"
SECRETS = {
    "searchd-database": {"SEARCHD_DATABASE_URL"},
    "searchd-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
}
"""Keys of the secrets that kustomization.yaml tells the operator to create."""


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    command = [str(TOOLS / "kubectl"), "kustomize", str(ROOT / "deploy" / "kubernetes")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def cluster(documents: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = named(documents, "RayCluster", "searchd")["spec"]
    return spec


@pytest.fixture(scope="module")
def pods(documents: list[dict[str, Any]], cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The templates of all pods by name."""
    deployments = {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in documents
        if each["kind"] == "Deployment"
    }
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {**deployments, "head": cluster["headGroupSpec"]["template"], **groups}


def named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def sources(pod: dict[str, Any], kind: str) -> set[str]:
    return {each[kind]["name"] for each in container(pod)["envFrom"] if kind in each}


def test_every_document_is_valid(documents: list[dict[str, Any]]) -> None:
    assert sorted(each["kind"] for each in documents) == [
        "ConfigMap", "ConfigMap", "Deployment", "Deployment", "NetworkPolicy", "RayCluster",
        "Service",
    ]  # fmt: skip
    for document in documents:
        if document["kind"] != "RayCluster":
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_ray_cluster_is_valid_for_kuberay(documents: list[dict[str, Any]]) -> None:
    schema = json.loads(RAYCLUSTER.read_text())

    jsonschema.validate(named(documents, "RayCluster", "searchd"), schema)

    unknown = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": {"autoscaling": True}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(unknown, schema)


def test_its_pods_are_valid(pods: dict[str, dict[str, Any]]) -> None:
    assert sorted(pods) == ["gpu", "head", "searchd-api", "searchd-coordinator"]
    for name, pod in pods.items():
        metadata = {**pod["metadata"], "name": name}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_variable_is_a_setting(
    documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    known = {f"SEARCHD_{field.upper()}" for field in Settings.model_fields}
    given = set(named(documents, "ConfigMap", "searchd")["data"])
    for pod in pods.values():
        given |= {each["name"] for each in container(pod).get("env", ())}

    assert {name for name in given if name.startswith("SEARCHD_")} - known == set()


def test_every_source_of_variables_exists(
    documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    maps = {each["metadata"]["name"] for each in documents if each["kind"] == "ConfigMap"}
    for pod in pods.values():
        assert sources(pod, "configMapRef") <= maps
        assert sources(pod, "secretRef") <= SECRETS.keys()
    told = (ROOT / "deploy/kubernetes/kustomization.yaml").read_text()
    for secret, keys in SECRETS.items():
        assert f"secret generic {secret} " in told
        assert all(f"--from-literal={key}=" in told for key in keys)


def test_every_command_and_option_exists(
    cluster: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    for name in ("searchd-api", "searchd-coordinator"):
        python, option, module = container(pods[name])["command"]
        assert (python, option) == ("python", "-m")
        assert find_spec(module) is not None
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        options = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        ray_cli.commands["start"].make_context("start", options)  # raises for an unknown option


def test_ray_asks_for_a_token_that_api_and_coordinator_have(
    cluster: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    secret = {"name": cluster["authOptions"]["secretName"], "key": "auth_token"}

    assert cluster["authOptions"]["mode"] == "token"
    for name in ("searchd-api", "searchd-coordinator"):
        env = {each["name"]: each for each in container(pods[name])["env"]}
        assert env["RAY_AUTH_MODE"]["value"] == "token"
        assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == secret


def test_the_autoscaler_starts_as_many_workers_as_the_service_expects(
    documents: list[dict[str, Any]], cluster: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    (group,) = cluster["workerGroupSpecs"]
    limits = container(pods["gpu"])["resources"]["limits"]
    (expected,) = json.loads(
        named(documents, "ConfigMap", "searchd")["data"]["SEARCHD_CLUSTER_NODES"]
    )

    assert cluster["enableInTreeAutoscaling"] is True
    assert (group["minReplicas"], group["replicas"]) == (0, 0)
    assert expected == {
        "count": group["maxReplicas"],
        "cpus": int(limits["cpu"]),
        "gpus": int(limits["nvidia.com/gpu"]),
    }


def test_workers_do_not_know_the_database(pods: dict[str, dict[str, Any]]) -> None:
    assert sources(pods["gpu"], "secretRef") == {"searchd-s3"}


def test_only_the_pods_of_searchd_reach_ray(
    documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    policy = named(documents, "NetworkPolicy", "searchd-ray")["spec"]
    (allowed,) = policy["ingress"][0]["from"]

    assert policy["podSelector"] == {"matchLabels": {"ray.io/cluster": "searchd"}}
    for pod in pods.values():
        assert allowed["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_the_compose_file_has_the_schema_of_compose_files() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]

    done = subprocess.run(
        [*check, str(ROOT / "docker-compose.yml")], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout


def test_the_dockerfile_has_no_findings() -> None:
    command = [str(TOOLS / "hadolint"), str(ROOT / "deploy" / "Dockerfile")]

    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")
