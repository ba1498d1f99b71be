"""What lies behind the AP of a detector, from the database and the artifact store."""

from typing import Any

from sqlalchemy.orm import Session

from api.schemas.breakdowns import Breakdown, Predictions, SamplePrediction
from searchd import artifacts
from searchd.domain.errors import NotFoundError
from searchd.messages.codecs import SAMPLE_PREDICTIONS
from searchd.messages.files import PREDICTIONS
from searchd.messages.predictions import SamplePredictions
from searchd.store.models import DatasetRow, RunRow, TrialRow
from searchd.store.runs import breakdowns


def breakdowns_of(session: Session, trial: TrialRow) -> list[Breakdown]:
    """Return the AP of a trial's detector by class and by kind of error, at each resolution."""
    return [
        Breakdown(
            resolution=evaluation.resolution,
            class_aps=row.class_aps,
            errors=row.errors,
            num_error_images=row.num_error_images,
        )
        for evaluation, row in breakdowns.of_trial(session, trial.id)
    ]


def predictions(session: Session, trial: TrialRow) -> Predictions:
    """Return the stored detections of a trial on the samples of its data set.

    Args:
        session: A reading session.
        trial: The trial, with its artifacts.

    Raises:
        NotFoundError: It stored none.
        ArtifactError: The file is missing or damaged.
    """
    dataset = session.get_one(DatasetRow, session.get_one(RunRow, trial.run_id).dataset_id)
    found = _stored(trial)
    boxes = {image.path: image.boxes for image in found.images}
    return Predictions(
        trial_id=trial.id,
        dataset_id=dataset.id,
        resolution=found.resolution,
        images=[
            _image(number, sample, boxes[sample["path"]])
            for number, sample in enumerate((dataset.samples or {}).get("samples", []))
            if sample["split"] == "validation" and sample["path"] in boxes
        ],
    )


def _stored(trial: TrialRow) -> SamplePredictions:
    stored = next((each for each in trial.artifacts if each.name == PREDICTIONS), None)
    if stored is None:
        raise NotFoundError(
            f"trial {trial.id} stored no detections on sample images: it was not evaluated, or by "
            "an earlier version"
        )
    stored.check_there()
    return SAMPLE_PREDICTIONS.validate_json(artifacts.read(stored.artifact))


def _image(number: int, sample: dict[str, Any], boxes: tuple[Any, ...]) -> SamplePrediction:
    return SamplePrediction(
        sample=number,
        width=sample["width"],
        height=sample["height"],
        objects=sample["objects"],
        detections=list(boxes),
    )
