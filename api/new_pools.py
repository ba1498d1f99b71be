"""Creates pools, with the check of an imported one that needs its data set."""

from sqlalchemy.orm import Session

from api.submission import SubmissionChecks
from searchd.domain.errors import CheckpointError, InvalidValueError
from searchd.messages.pool_export import check_classes, read_description
from searchd.spec import PoolSpec
from searchd.store.models import DatasetRow, PoolRow
from searchd.store.resources import pools


def create_pool(
    session: Session,
    spec: PoolSpec,
    checks: SubmissionChecks,
    *,
    idempotency_key: str | None = None,
    owner: str | None = None,
) -> PoolRow:
    """Create a pool and queue its training or its import.

    The classes of an imported pool are compared with those of the data set, if its folder is on
    this machine and the data set is checked; its worker always compares them.

    Raises:
        ConflictError: See `pools.create`.
        InvalidValueError: See `pools.create`; or the classes differ.
    """
    row = pools.create(session, spec, idempotency_key=idempotency_key, owner=owner)
    summary = session.get_one(DatasetRow, row.dataset_id).summary
    if checks.files and spec.source is not None and summary is not None:
        try:
            names = tuple(summary["class_names"])
            check_classes(spec.source, read_description(spec.source), names)
        except CheckpointError as error:
            raise InvalidValueError(str(error)) from error
    return row
