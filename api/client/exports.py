"""The calls of the API about exports of detectors."""

from pathlib import Path

from api import schemas
from api.client.transport import Transport, request_body
from searchd.spec import ExportSpec


class ExportCalls(Transport):
    """Part of the client; see `api.client.client`."""

    def create_export(self, trial_id: str, spec: ExportSpec) -> schemas.Export:
        """Export the detector of a trial. Repeating the call creates nothing new."""
        path = f"/detectors/{trial_id}/exports"
        return self._post(path, schemas.Export, json=request_body(spec))

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
        found = self._call("GET", f"/detectors/{trial_id}/exports").json()
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
