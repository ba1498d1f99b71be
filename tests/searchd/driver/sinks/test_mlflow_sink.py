"""MLflow: a real tracking server on this machine, and one that is gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from cli.child_processes import free_ports
from searchd.driver.sinks.base import RunFacts
from searchd.driver.sinks.mlflow_sink import MlflowSink
from searchd.settings import Settings
from searchd.store.models import TrialRow
from tests.searchd.store import factories

mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server on SQLite, which the package mlflow has and mlflow-skinny has not."""
    pytest.importorskip("flask", reason="only mlflow-skinny is installed, which has no server")
    folder = tmp_path_factory.mktemp("mlflow")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}"]
    stores = [
        f"--backend-store-uri=sqlite:///{folder}/mlflow.db",
        f"--artifacts-destination={folder}/artifacts",
        "--workers=1",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *stores],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _await(url, process, folder / "log")
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
            process.wait()


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    return inherited | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # many processes otherwise


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def _on(settings: Settings, url: str, **changes: Any) -> Settings:
    return settings.model_copy(update={"mlflow_tracking_uri": SecretStr(url), **changes})


def test_a_trial_is_a_run_with_losses_results_and_files(
    server: str, facts: RunFacts, ended: TrialRow, settings: Settings
) -> None:
    sink = MlflowSink(facts, _on(settings, server))
    sink.progress(factories.progress("base"))
    sink.ended(ended)
    sink.close()
    MlflowSink(facts, _on(settings, server)).ended(ended)  # by another driver, after a crash

    client = mlflow.MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name(f"first {facts.id}")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("base", "FINISHED")
    assert run.data.tags["searchd.trial_id"] == ended.id
    assert run.data.metrics["ap/96x96"] == 0.5
    history = client.get_metric_history(run.info.run_id, "epoch/loss")
    assert {(each.step, each.value) for each in history} == {(1, 1.5), (2, 0.75)}
    assert [e.step for e in client.get_metric_history(run.info.run_id, "live/loss")] == [25]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"files.json", "student.safetensors"}


def test_files_above_the_limit_are_named_and_not_copied(
    server: str, facts: RunFacts, ended: TrialRow, settings: Settings
) -> None:
    MlflowSink(facts, _on(settings, server, sink_max_mb=0.000006)).ended(ended)

    client = mlflow.MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name(f"first {facts.id}")
    (run,) = client.search_runs([experiment.experiment_id])
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["files.json"]


def test_a_server_that_is_gone_is_noticed_within_seconds(
    facts: RunFacts, settings: Settings
) -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    with pytest.raises(Exception, match="Max retries exceeded|refused"):
        MlflowSink(facts, _on(settings, f"http://127.0.0.1:{port}"))
    assert time.monotonic() - began < 60
