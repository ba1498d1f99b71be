"""The settings of every process, read from the environment (SEARCHD_*) in this one place.

Secrets (the database URL) travel by the environment or by a file with mode 0600 that
SEARCHD_SETTINGS_FILE names; never by a command line or a job's runtime environment.
"""

import os
import stat
from ipaddress import ip_address
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from searchd.domain.errors import InvalidValueError

SETTINGS_FILE = "SEARCHD_SETTINGS_FILE"
"""Environment variable that names a file of SEARCHD_*=value lines."""


class Settings(BaseSettings):
    """Every field is the environment variable SEARCHD_<FIELD>. The environment wins over the file.

    Make one with `load()`.
    """

    model_config = SettingsConfigDict(env_prefix="SEARCHD_", frozen=True, extra="ignore")

    data_folder: Path = Path("searchd-data")
    """Everything that `searchd up` writes lies below."""
    database_url: SecretStr = SecretStr("")
    """SQLAlchemy URL, sqlite:/// or postgresql+psycopg://. Empty: searchd.sqlite in the data
    folder."""
    artifacts: str = ""
    """fsspec URI of the artifact store. Empty: the folder artifacts in the data folder."""
    ray_address: str = ""
    """host:port of the Ray head's GCS. Empty: this machine has none yet (`searchd up` starts
    one)."""
    ray_dashboard_url: str = "http://127.0.0.1:8265"
    """Where Ray's dashboard and Jobs API listen."""
    max_running_searches: int = Field(default=1, ge=1)
    """Searches admitted at the same time; the rest wait as QUEUED."""
    lease_s: float = Field(default=60.0, gt=0)
    """Seconds until a piece of work whose driver shows no sign of life is taken from it."""
    poll_s: float = Field(default=2.0, gt=0)
    """Seconds between two rounds of the coordinator."""
    max_attempts: int = Field(default=5, ge=1)
    """Crashes of a driver in a row after which its work is given up."""
    slice_s: float = Field(default=20.0, gt=0)
    """Seconds after which a worker hands over its progress and looks whether to stop. Pausing frees
    its GPU after that and some seconds."""
    checkpoint_s: float = Field(default=600.0, gt=0)
    """Seconds between checkpoints inside an epoch."""
    silence_s: float = Field(default=900.0, gt=0)
    """Seconds after which a worker in which nothing moves ends itself."""
    keep_all: bool = False
    """on: no weights are ever collected. off: those that nothing needs any more are
    (`searchd.coordinator.sweeper`)."""
    keep_s: float = Field(default=3600.0, ge=0)
    """Seconds for which everything is kept after a trial, or what it belongs to, has ended."""
    min_free_gb: float = Field(default=2.0, ge=0)
    """Gigabytes (10^9 bytes) that must be free where artifacts and database lie, if those are local
    folders; with less, no work is started. 0: any will do."""
    api_host: str = "127.0.0.1"
    """Address that the API listens on; any but loopback needs `auth`."""
    api_port: int = Field(default=8080, ge=0, le=65535)
    auth: bool = False
    """on: the API asks for a token (`searchd token create`). off: whoever reaches it may do
    everything."""
    data_roots: str = ""
    """Folders, separated as in PATH, below which paths that users name must lie. Empty: anywhere,
    which `auth` forbids."""
    requests_per_minute: int = Field(default=3000, ge=1)
    """That the API answers for one token, or for one client address where there is no token."""
    trial_trainable: str = "workers.trial.trainable:TrialTrainable"
    """module:name of the Tune trainable, which the driver resolves; it must not know torch."""
    trial_module: str = "workers.trial.run"
    """Module whose `TrialContext` and `trial_steps` the trainable runs."""
    latency: str = "workers.comparison.latency:measure_latencies"
    """module:name of the function that times detectors side by side."""
    adaptation_costs: str = "workers.comparison.adaptation_costs:compare"
    """module:name of the function that compares teachers, for their order."""
    pool_training: str = "workers.pool.training:train_pool"
    """module:name of the function that trains a pool."""
    teacher_evaluation: str = "workers.teacher_evaluation:evaluate_teacher"
    """module:name of the function that loads and evaluates a teacher."""
    dataset_check: str = "workers.dataset_check:check"
    """module:name of the function that checks a data set."""

    @property
    def database(self) -> str:
        """URL of the database, secrets included: do not log."""
        given = self.database_url.get_secret_value()
        return given or f"sqlite:///{self.data_folder.absolute() / 'searchd.sqlite'}"

    @property
    def artifact_root(self) -> str:
        """URI below which every artifact lies."""
        return self.artifacts or str(self.data_folder.absolute() / "artifacts")

    @property
    def roots(self) -> tuple[Path, ...]:
        """`data_roots`, one by one."""
        return tuple(Path(root) for root in self.data_roots.split(os.pathsep) if root)

    def check_access(self) -> None:
        """See that nobody gets in by mistake; for whoever starts the API.

        Raises:
            InvalidValueError: Without authentication, the API would be reached from elsewhere; or
                with it, users could name any path; or a root is no absolute path.
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
        """Variables that give a child process these settings, secrets included."""
        values = self.model_dump(mode="json") | {
            "data_folder": str(self.data_folder.absolute()),
            "database_url": self.database,
            "artifacts": self.artifact_root,
        }
        return {f"SEARCHD_{name.upper()}": str(value) for name, value in values.items()}


def load() -> Settings:
    """The settings of this process.

    Raises:
        InvalidValueError: The settings file is missing or readable by others than its owner.
        pydantic.ValidationError: A variable has no legal value; the message names it.
    """
    path = os.environ.get(SETTINGS_FILE)
    if path is None:
        return Settings()
    _check_private(Path(path))
    return Settings(_env_file=path)


def is_loopback(host: str) -> bool:
    """Whether this address or name is this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _check_private(path: Path) -> None:
    if not path.is_file():
        raise InvalidValueError(f"{SETTINGS_FILE}={path}: no such file")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InvalidValueError(
            f"{SETTINGS_FILE}={path} has mode {mode:04o} and may hold secrets; "
            f"run: chmod 600 {path}"
        )
