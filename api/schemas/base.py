"""What all responses share: the base class, problems, pages, events, files, measurements.

AP is COCO box AP in [0, 1]; macs are multiply-accumulates of one image; times are UTC.
"""

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from api.schemas import notebook
from searchd.spec import ResolutionText

PREFIX = "/api/v1"
"""The prefix of every path of the API, except those of `api.routes.health`."""
T = TypeVar("T")


class Schema(BaseModel):
    """Base of every response; it can be built from the attributes of a row.

    The docstring of a field is its description in the OpenAPI document
    (`searchd.spec.described`). Validators are built at the first use, so that a command of the
    command line does not wait for those of other responses.
    """

    model_config = ConfigDict(from_attributes=True, defer_build=True)

    def _repr_html_(self) -> str:
        """The plain values as a table, in a notebook."""
        return notebook.facts(self)


class FieldProblem(Schema):
    """One invalid field of a request."""

    location: list[str | int]
    """Where the field is: body, query, path or header, followed by the path to the field."""
    message: str
    """Why the value of the field is invalid."""


class Problem(Schema):
    """RFC 9457 problem details, the body of every error response."""

    type: str
    """Stable identifier of the kind of error, for programs."""
    title: str
    """Short name of the kind of error, for people."""
    status: int
    """HTTP status code of the response."""
    detail: str
    """Explanation of this error, and what would help."""
    errors: list[FieldProblem] = []
    """Invalid fields of the request. Empty if `type` is neither urn:searchd:problem:validation nor
    urn:searchd:problem:invalid-value, or if no single field is to blame."""


class Validation(Schema):
    """A request that would be accepted, since nothing against it was found."""

    warnings: list[str] = []
    """What could not be checked, one sentence each."""


class Page(Schema, Generic[T]):
    """One page of a list."""

    items: list[T]
    """Items of this page, in the order of the list."""
    next_page_token: str | None
    """Value of the parameter `page_token` that returns the next page; null on the last page."""


class Event(Schema):
    """A change of status of a resource, of one of its trials, or of its work in the queue."""

    number: int
    """Number of the event, from 1 without gaps; the id of the server-sent event."""
    subject: str
    """Id of what the event is about: the resource, or one of its trials."""
    status: str
    """Status of the subject from this event on."""
    message: str
    """Reason for the change, in words."""
    at: datetime
    """Time of the event, in UTC."""


class File(Schema):
    """A file in the artifact store."""

    name: str
    """Name of the file within its trial, pool or export, for example "student"."""
    sha256: str
    """SHA-256 of the content, as 64 hexadecimal digits."""
    size_bytes: int
    """Size of the content in bytes."""
    uri: str
    """Location of the file in the artifact store."""
    deleted_at: datetime | None = None
    """Time when garbage collection deleted the file; null while it exists."""

    @property
    def file_name(self) -> str:
        """The last part of `uri`, such as "model.onnx"."""
        return self.uri.rpartition("/")[2]


class Measurement(Schema):
    """A measurement of a detector on the validation split at one input resolution."""

    resolution: ResolutionText
    """Input resolution of the measurement, "WxH" in pixels."""
    ap: float
    """COCO box AP in [0, 1], averaged over the IoU thresholds .50 to .95."""
    ap50: float
    """COCO box AP in [0, 1] at the IoU threshold .50."""
    ap75: float
    """COCO box AP in [0, 1] at the IoU threshold .75."""
    ap_small: float
    """COCO box AP in [0, 1] of small objects; -1 if the split has none."""
    ap_medium: float
    """COCO box AP in [0, 1] of medium objects; -1 if the split has none."""
    ap_large: float
    """COCO box AP in [0, 1] of large objects; -1 if the split has none."""
    ap70: float | None = None
    """COCO box AP in [0, 1] at the IoU threshold .70; null if an earlier version measured it."""
    ap90: float | None = None
    """COCO box AP in [0, 1] at the IoU threshold .90; null if an earlier version measured it."""
    ar1: float | None = None
    """COCO average recall in [0, 1] with one detection of an image and class; null as `ap70`."""
    ar10: float | None = None
    """COCO average recall in [0, 1] with at most 10 detections of an image and class; null as
    `ap70`."""
    ar100: float | None = None
    """COCO average recall in [0, 1] with at most 100 detections of an image and class; null as
    `ap70`."""
    ar_small: float | None = None
    """COCO average recall in [0, 1] of small objects; -1 if the split has none; null as `ap70`."""
    ar_medium: float | None = None
    """COCO average recall in [0, 1] of medium objects; -1 if the split has none; null as `ap70`."""
    ar_large: float | None = None
    """COCO average recall in [0, 1] of large objects; -1 if the split has none; null as `ap70`."""
    mask_ap: float | None = None
    """COCO mask AP in [0, 1], averaged over the IoU thresholds .50 to .95; null if the detector
    found no masks, as every detector of boxes."""
    mask_ap50: float | None = None
    """COCO mask AP in [0, 1] at the IoU threshold .50; null as `mask_ap`."""
    macs: float
    """Multiply-accumulates of one image at exactly this resolution."""
    latency_s: float
    """Median time of one forward pass at batch size 1, in seconds."""
    images_per_s: float
    """Throughput at batch size 1, in images per second."""


class Epoch(Schema):
    """The metrics of one training epoch."""

    phase: str = ""
    """Name of the phase of a pool's progressive shrinking; empty for trials and teachers."""
    epoch: int
    """Number of the epoch, counted from 1 within its phase."""
    losses: dict[str, float]
    """Mean over the epoch of each loss term, and of their sum, `loss`."""
    learning_rate: float
    """Learning rate at the end of the epoch."""
    duration_s: float
    """Wall-clock time of the epoch over all attempts, in seconds."""
