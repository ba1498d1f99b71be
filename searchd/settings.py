"""The settings of every process, read from the environment (SEARCHD_*) in this one place.

Secrets (the database URL) are passed in the environment or in a file with mode 0600 that
SEARCHD_SETTINGS_FILE names; never on a command line or in a job's runtime environment.
"""

import json
import os
import stat
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from searchd.domain.capacity import ANY, FIXED, Growth, NodeGroup
from searchd.domain.errors import InvalidValueError
from searchd.domain.paths import CACHE_FOLDER
from searchd.domain.sinks import SinkKind

SETTINGS_FILE = "SEARCHD_SETTINGS_FILE"
"""The environment variable that names a file of SEARCHD_*=value lines."""


class Settings(BaseSettings):
    """The settings. Each field is the environment variable SEARCHD_<FIELD>, which takes precedence
    over the same line of the settings file.

    Use `load()` to create them.
    """

    model_config = SettingsConfigDict(env_prefix="SEARCHD_", frozen=True, extra="ignore")

    data_folder: Path = Path("searchd-data")
    """Folder below which `searchd up` writes everything. Default: searchd-data in the working
    directory."""
    database_url: SecretStr = SecretStr("")
    """SQLAlchemy URL of the database, sqlite:/// or postgresql+psycopg://. Default (empty): the
    file searchd.sqlite in the data folder."""
    artifacts: str = ""
    """fsspec URI of the artifact store, for checkpoints, exports and reports. Default (empty): the
    folder artifacts in the data folder."""
    ray_address: str = ""
    """Address host:port of the GCS of the Ray head to use. Default (empty): none; `searchd up`
    starts a Ray head on this machine."""
    ray_dashboard_url: str = "http://127.0.0.1:8265"
    """URL of Ray's dashboard, which also serves its Jobs API. Default: Ray's own default on this
    machine."""
    cluster_nodes: Literal["any", "present"] | tuple[NodeGroup, ...] = "any"
    """Nodes that the cluster may have at most, joined or not, as JSON, for example
    [{"count": 8, "cpus": 16, "gpus": 1}]. Work that fits them waits until they join; work that
    could never fit is refused when it is submitted. any (default): every kind of node may still
    join, and nothing is refused. present (default of `searchd up`): none joins; work whose nodes
    are lost fails after 15 minutes."""
    max_running_searches: int = Field(default=1, ge=1)
    """Maximum number of searches and distillations that are admitted at the same time; the others
    stay queued. Default: 1."""
    gpu_hours_per_owner: float = Field(default=0, ge=0)
    """GPU-hours that the searches and distillations of one owner (the name of a token) may use
    within 30 days; after that, no further one of the owner starts. What runs already continues; a
    search limits itself by budget.max_gpu_hours. Default (0): there is no limit."""
    limit_gpu_memory: bool = True
    """on (default): a process with a fraction of a GPU, such as a trial with gpus_per_trial: 0.5,
    may use that fraction of its memory, so that it cannot take the memory of those that share the
    GPU. off: it may use all that is free."""
    lease_s: float = Field(default=60.0, gt=0)
    """Seconds without a heartbeat after which a driver counts as dead and its work is requeued.
    Default: 60."""
    poll_s: float = Field(default=2.0, gt=0)
    """Seconds between two rounds of the coordinator. Default: 2."""
    max_attempts: int = Field(default=5, ge=1)
    """Number of consecutive crashes of its driver after which work fails; also the number of lost
    workers after which a trial fails. Default: 5."""
    slice_s: float = Field(default=20.0, gt=0)
    """Seconds between two reports of a worker's progress, at which it also checks whether to stop.
    Pausing frees its GPU some seconds after the next one. Default: 20."""
    checkpoint_s: float = Field(default=600.0, gt=0)
    """Seconds between two checkpoints within an epoch; each epoch also ends with one. Default:
    600."""
    silence_s: float = Field(default=900.0, gt=0)
    """Seconds without progress after which a worker that hangs ends itself. Default: 900."""
    keep_all: bool = False
    """on: garbage collection removes nothing. off (default): it removes weights that nothing needs
    (`searchd.coordinator.sweeper`)."""
    keep_s: float = Field(default=3600.0, ge=0)
    """Seconds for which garbage collection keeps all files after a trial, or the run or pool that
    they belong to, has ended. Default: 3600."""
    min_free_gb: float = Field(default=2.0, ge=0)
    """Gigabytes (10^9 bytes) of disk space that must be free for work to start, on the disks of
    artifacts and database if those are local; below half of it, running work is paused until there
    is enough. 0: disk space is not checked. Default: 2."""
    api_host: str = "127.0.0.1"
    """Address that the API listens on. Any other than loopback requires `auth`. Default:
    127.0.0.1."""
    api_port: int = Field(default=8080, ge=0, le=65535)
    """TCP port that the API listens on. 0: any free port. Default: 8080."""
    check_files: bool = True
    """on (default): files that a spec names must be there when it is submitted. off: they are not
    looked for, which an API needs that runs on a machine without the disks of the workers."""
    instance: str = ""
    """Identifier of one start of the service, which `/healthz` returns; `searchd up` chooses it, to
    recognize its own API. Default (empty): none."""
    auth: bool = False
    """on: every call of the API needs a token (`searchd token create`). off (default): everyone who
    reaches the API may do everything."""
    data_roots: str = ""
    """Folders below which all paths in specs must be, separated as in PATH. Default (empty): any
    path is accepted, which `auth` does not allow."""
    data_stores: str = ""
    """URIs below which data sets on a shared store must be, separated by commas, for example
    s3://photos,s3://team/datasets. Workers read them with the credentials of the artifact store.
    Default (empty): any URI is accepted without `data_roots`, and none with them."""
    cache_folder: Path = CACHE_FOLDER
    """Folder on the disk of each worker that data sets of a shared store are copied to, an absolute
    path. Files are kept by their SHA-256. Default: /var/tmp/searchd-cache."""
    sinks: str = ""
    """Sinks that record every search and distillation whose spec names none: tensorboard, mlflow
    and wandb, separated by commas. Default (empty): none."""
    sink_folder: str = ""
    """Folder that the sinks tensorboard and wandb write to. Default (empty): the folder sinks in
    the data folder."""
    sink_max_mb: float = Field(default=100.0, ge=0)
    """Size in megabytes (10^6 bytes) of the largest file of a trial that is copied to the sinks
    mlflow and wandb; of larger ones they get the address. Default: 100."""
    mlflow_tracking_uri: SecretStr = SecretStr("")
    """URI of the tracking server that the sink mlflow records on, http:// or https://. Default
    (empty): none, and specs that name mlflow are refused."""
    wandb_project: str = Field(default="searchd", min_length=1)
    """Project of the runs that the sink wandb writes. Default: searchd."""
    log_format: Literal["text", "json"] = "text"
    """How every process logs. json: one JSON object for each line, with the ids of work, search and
    trial. Default: text."""
    webhook_private_networks: bool = False
    """on: webhooks may call addresses of private networks and of this machine. off (default): only
    those of the public internet, so that nobody reaches inner services through this one."""
    requests_per_minute: int = Field(default=3000, ge=1)
    """Maximum number of calls per minute that the API answers for one token, or for one client
    address without a token; further calls get status 429. Default: 3000."""
    trial_trainable: str = "workers.trial.trainable:TrialTrainable"
    """module:name of the Ray Tune trainable that runs trials. The driver imports it, so it must not
    import torch."""
    trial_module: str = "workers.trial.run"
    """Module with the `TrialContext` and the `trial_steps` that the trainable runs."""
    latency: str = "workers.comparison.latency:measure_latencies"
    """module:name of the function that measures the latencies of detectors one after another."""
    split_measurement: str = "workers.comparison.splits:measure_on_split"
    """module:name of the function that measures detectors on the test and validation split after a
    search."""
    adaptation_costs: str = "workers.comparison.adaptation_costs:compare"
    """module:name of the function that measures the adaptation costs between teachers, by which
    their order is chosen."""
    pool_training: str = "workers.pool.training:train_pool"
    """module:name of the function that trains a pool."""
    teacher_evaluation: str = "workers.teacher_evaluation:evaluate_teacher"
    """module:name of the function that loads and evaluates a registered teacher."""
    teacher_training: str = "workers.teacher_training:train_teacher"
    """module:name of the function that trains a teacher and evaluates it."""
    detector_export: str = "workers.detector_export:export_detector"
    """module:name of the function that exports a detector and compares the export with it."""
    device_table: str = "workers.device:measure_table"
    """module:name of the function that measures the lookup table of a device, on that device."""
    device_latency: str = "workers.device:measure_latencies"
    """module:name of the function that measures found detectors on a device."""
    dataset_check: str = "workers.dataset_check:check"
    """module:name of the function that checks a data set."""

    @field_validator("sinks")
    @classmethod
    def _check_sinks(cls, value: str) -> str:
        known = [kind.value for kind in SinkKind]
        wrong = [name for name in _names(value) if name not in known]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no sink; there are {', '.join(known)}")
        return value

    @property
    def sink_kinds(self) -> tuple[SinkKind, ...]:
        """Return the sinks of runs whose specs name none."""
        return tuple(dict.fromkeys(map(SinkKind, _names(self.sinks))))

    @property
    def usable_sinks(self) -> frozenset[SinkKind]:
        """Return the sinks that specs may name: those that know where to write."""
        has_server = bool(self.mlflow_tracking_uri.get_secret_value())
        return frozenset(SinkKind) - (frozenset() if has_server else {SinkKind.MLFLOW})

    @property
    def sink_root(self) -> Path:
        """Return the folder that sinks write to."""
        return Path(self.sink_folder or self.data_folder.absolute() / "sinks")

    @property
    def database(self) -> str:
        """Return the URL of the database. It contains secrets: do not log it."""
        given = self.database_url.get_secret_value()
        return given or f"sqlite:///{self.data_folder.absolute() / 'searchd.sqlite'}"

    @property
    def artifact_root(self) -> str:
        """Return the URI below which all artifacts are stored."""
        return self.artifacts or str(self.data_folder.absolute() / "artifacts")

    @property
    def growth(self) -> Growth:
        """Return the nodes that may still join the cluster."""
        if isinstance(self.cluster_nodes, tuple):
            return Growth(groups=self.cluster_nodes)
        return ANY if self.cluster_nodes == "any" else FIXED

    @property
    def roots(self) -> tuple[Path, ...]:
        """Return the folders of `data_roots`."""
        return tuple(Path(root) for root in self.data_roots.split(os.pathsep) if root)

    @property
    def stores(self) -> tuple[str, ...]:
        """Return the URIs of `data_stores`, without a "/" at their ends."""
        return tuple(uri.rstrip("/") for uri in _names(self.data_stores))

    def check_access(self) -> None:
        """Check that the API is not open by mistake, before it is started.

        Raises:
            InvalidValueError: The API would be reachable from other machines without
                authentication; or with authentication, users could name any path; or a root is not
                an absolute path.
        """
        relative = [str(root) for root in self.roots if not root.is_absolute()]
        if relative:
            raise InvalidValueError(
                f"SEARCHD_DATA_ROOTS names {', '.join(relative)}; give absolute paths"
            )
        if not self.auth and not is_loopback(self.api_host):
            raise InvalidValueError(
                f"SEARCHD_API_HOST={self.api_host} lets others reach the API, and SEARCHD_AUTH=off "
                "lets everybody in; set SEARCHD_AUTH=on, or SEARCHD_API_HOST=127.0.0.1"
            )
        if self.auth and not self.roots:
            raise InvalidValueError(
                "SEARCHD_AUTH=on needs SEARCHD_DATA_ROOTS: the folders, separated by "
                f"{os.pathsep!r}, below which data sets and checkpoints of users must lie"
            )

    def environment(self) -> dict[str, str]:
        """Return the environment variables with these settings for a child process. They contain
        secrets."""
        values = self.model_dump(mode="json") | {
            "data_folder": str(self.data_folder.absolute()),
            "database_url": self.database,
            "artifacts": self.artifact_root,
            "mlflow_tracking_uri": self.mlflow_tracking_uri.get_secret_value(),
        }
        return {
            f"SEARCHD_{name.upper()}": json.dumps(value) if isinstance(value, list) else str(value)
            for name, value in values.items()
        }


def load() -> Settings:
    """Return the settings of this process.

    Raises:
        InvalidValueError: The settings file is missing, or others than its owner can read it.
        pydantic.ValidationError: A variable has an illegal value; the message names it.
    """
    path = os.environ.get(SETTINGS_FILE)
    if path is None:
        return Settings()
    _check_private(Path(path))
    return Settings(_env_file=path)


def is_loopback(host: str) -> bool:
    """Return whether this address or name is reachable from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


def _check_private(path: Path) -> None:
    if not path.is_file():
        raise InvalidValueError(f"{SETTINGS_FILE}={path}: no such file")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InvalidValueError(
            f"{SETTINGS_FILE}={path} has mode {mode:04o} and may hold secrets; "
            f"run: chmod 600 {path}"
        )
