"""The names of files and artifacts that driver and workers exchange through the artifact store, and
of the folder of an attempt at a trial."""

REPORT_FILE = "report.json"
"""In an attempt's folder. A worker writes it last, so that its presence says that the attempt is
complete."""
STOP_FILE = "stop.json"
"""In a run's folder. While it exists, workers stop at the end of their time slice."""
POOL_STOP_FILE = "stop"
"""In the folder of an attempt at training a pool or a teacher. While it exists, the training stops
at the end of its time slice."""
PROGRESS_FILE = "progress.json"
"""In the folder of such an attempt: the latest `PoolProgress` or `TeacherProgress`."""
LOG_FILE = "log.jsonl"
"""In an attempt's folder: what its worker logged, one JSON object for each line."""
RESUME_FILE = "resume.pt"
"""The latest checkpoint, possibly inside an epoch."""
EPOCH_FILE = "epoch.pt"
"""The checkpoint at the end of a trial's last finished epoch."""

STUDENT = "student"
"""Name of the artifact with a trial's detector weights. A child inherits it."""
ADAPTERS = "adapters"
"""Name of the artifact with the weights of a trial's distillation adapters. A child inherits it."""
DETECTOR = "detector"
"""Name of the artifact with a trial's architecture, as JSON."""
DETECTOR_FILE = f"{DETECTOR}.json"
"""The file of that artifact, in an attempt's folder."""
PREDICTIONS = "predictions"
"""Name of the artifact with a trial's detections on sample images, as JSON; see
`searchd.messages.predictions`."""
PREDICTIONS_FILE = f"{PREDICTIONS}.json"
"""The file of that artifact, in an attempt's folder."""
SUPERNET = "supernet"
"""Name of the artifact with a trained pool's weights."""
TEACHER = "teacher"
"""Name of the artifact with a registered teacher's weights."""


def weights_file(artifact: str) -> str:
    """Return the name of the file with an artifact's weights."""
    return f"{artifact}.safetensors"


def run_folder(root: str, run_id: str) -> str:
    """Return the URI of a run's folder below the root of the artifact store."""
    from searchd import artifacts  # imports fsspec, which takes long

    return artifacts.join(root, "searches", run_id)


def attempt_folder(root: str, run_id: str, trial: str, attempt: int) -> str:
    """Return the URI of the folder that one attempt at a trial writes to."""
    from searchd import artifacts  # imports fsspec, which takes long

    return artifacts.join(run_folder(root, run_id), trial, f"attempt-{attempt}")
