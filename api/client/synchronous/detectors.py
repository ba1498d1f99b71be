"""The calls about trials, their detectors and exports."""

from pathlib import Path

from api import schemas
from api.client.protocol import request_body
from api.client.synchronous.transport import Transport
from api.schemas.breakdowns import Predictions
from searchd.spec import ExportSpec


class DetectorCalls(Transport):
    """Part of the client; see `Client`."""

    def get_trial(self, trial_id: str) -> schemas.TrialDetails:
        """Return a trial with its epochs and artifacts."""
        return self._get(f"/trials/{trial_id}", schemas.TrialDetails)

    def get_detector(self, trial_id: str) -> schemas.Detector:
        """Return the detector that a trial trained."""
        return self._get(f"/detectors/{trial_id}", schemas.Detector)

    def get_predictions(self, trial_id: str) -> Predictions:
        """Return what a detector finds on sample images of the validation split."""
        return self._get(f"/detectors/{trial_id}/predictions", Predictions)

    def pin(self, trial_id: str) -> schemas.TrialDetails:
        """Pin a trial, so that garbage collection keeps its files."""
        return self._post(f"/detectors/{trial_id}/pin", schemas.TrialDetails, repeatable=True)

    def unpin(self, trial_id: str) -> schemas.TrialDetails:
        """Unpin a trial, so that garbage collection may delete its files."""
        return self._post(f"/detectors/{trial_id}/unpin", schemas.TrialDetails, repeatable=True)

    def download(self, trial_id: str, artifact: str, target: Path) -> Path:
        """Download a file of a detector and check its SHA-256.

        Args:
            trial_id: Id of the trial that trained the detector.
            artifact: Name of the file, such as "student".
            target: Path to write to. The file appears there complete or not at all.

        Raises:
            ApiError: There is no such file, or what arrived does not match its SHA-256.
        """
        expected = {file.name: file.sha256 for file in (self.get_detector(trial_id)).artifacts}
        path = f"/detectors/{trial_id}/artifacts/{artifact}"
        return self._download(path, target, expected.get(artifact))

    def create_export(self, trial_id: str, spec: ExportSpec) -> schemas.Export:
        """Export the detector of a trial. Repeating the call creates nothing new."""
        path = f"/detectors/{trial_id}/exports"
        return self._post(path, schemas.Export, json=request_body(spec), repeatable=True)

    def get_export(self, trial_id: str, export: str) -> schemas.Export:
        """Return an export of a trial's detector by id or name."""
        return self._get(f"/detectors/{trial_id}/exports/{export}", schemas.Export)

    def find_export(self, export: str) -> schemas.Export:
        """Return an export of any trial by id or name."""
        return self._get(f"/exports/{export}", schemas.Export)

    def delete_export(self, export: str) -> None:
        """Delete an export, by id or name, and its files."""
        self._call("DELETE", f"/exports/{export}")

    def list_exports(self, trial_id: str) -> list[schemas.Export]:
        """Return the exports of a trial's detector, oldest first."""
        found = (self._call("GET", f"/detectors/{trial_id}/exports")).json()
        return [schemas.Export.model_validate(each) for each in found]

    def download_export(self, export: schemas.Export, folder: Path) -> list[Path]:
        """Download all files of an export and check their SHA-256.

        Raises:
            ApiError: A file is missing, or what arrived does not match its SHA-256.
        """
        path = f"/detectors/{export.trial_id}/exports/{export.id}/files"
        return [
            self._download(f"{path}/{file.name}", folder / file.file_name, file.sha256)
            for file in export.files
        ]
