"""Downloads of stored files, with their SHA-256 in the headers."""

import base64
from typing import Any
from urllib.parse import quote

from fastapi.responses import StreamingResponse

from api import schemas
from searchd import artifacts
from searchd.domain.trial import Artifact

MEDIA_TYPE = "application/octet-stream"
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The content of the file.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
    410: {
        "model": schemas.Problem,
        "description": "The file is missing, damaged or deleted by garbage collection.",
    },
}
"""The responses of an endpoint that downloads a file, for its OpenAPI description."""


def stream(artifact: Artifact, owner: str) -> StreamingResponse:
    """Return the content of a stored file.

    Args:
        artifact: The file.
        owner: What the file belongs to, such as the id of a trial, for the name of the download.

    Raises:
        ArtifactError: The file is missing, or has another size than recorded.
    """
    content = artifacts.chunks(artifact)
    return StreamingResponse(content, media_type=MEDIA_TYPE, headers=_headers(owner, artifact))


def _headers(owner: str, artifact: Artifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    filename = quote(f"{owner}-{artifact.uri.rpartition('/')[2]}")
    return {
        "Content-Length": str(artifact.size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{filename}",
        "Repr-Digest": f"sha-256=:{digest}:",
        "ETag": f'"{artifact.sha256}"',
    }
