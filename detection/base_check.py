"""Checks the weights that a run starts from, by what their files show without being run.

As a program (`python -m detection.base_check`), it reads a `Request` as JSON from standard input
and prints an `Answer` as the last line. The API runs it as a child process, since it does not
import torch itself.
"""

import sys
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from detection.backbones.pretrained import check_form
from detection.exported_base import read_export
from detection.exported_pool import check_pool_export
from detection.head_settings import completed_head
from detection.mmdet.checkpoint_import import describe_checkpoint
from searchd.domain.errors import CheckpointError
from searchd.messages.base_check import Answer, Request
from searchd.spec import BaseSpec, HeadSpec


def check_base(base: BaseSpec, given: Mapping[str, Any]) -> HeadSpec:
    """Check a base that starts from a file, and return its head.

    Names and shapes of the weights are read, and not their values: the outputs of an imported
    detector are compared later, on the worker.

    Args:
        base: The base.
        given: The fields of the head that were given.

    Raises:
        CheckpointError: The file cannot be read, does not fit its config, is of a detector that
            cannot be a base, or has another head than given.
    """
    if base.mmdet is not None:
        config, checkpoint = base.mmdet.config, base.mmdet.checkpoint
        detector = describe_checkpoint(config, checkpoint, options=base.mmdet.options)
        return completed_head(given, detector, str(checkpoint))
    if base.export is not None:
        exported = read_export(base.export, shapes_only=True)
        return completed_head(given, exported.student.detector, str(base.export))
    if base.pretrained is not None and base.architecture is not None:
        check_form(base.pretrained, base.architecture)
    return HeadSpec.model_validate(dict(given))


def answer(request: Request) -> Answer:
    """Return what a check found; a problem is an answer too."""
    try:
        if request.base is not None:
            head = check_base(request.base, request.head)
            shown: dict[str, JsonValue] = head.model_dump(mode="json")
            return Answer(head=shown)
        pool = request.pool
        if pool is not None and pool.source is not None:
            check_pool_export(pool.source)
        if pool is not None and pool.pretrained is not None:
            check_form(pool.pretrained, pool.space.space.architecture(pool.space.space.largest))
    except CheckpointError as error:
        return Answer(problem=str(error))
    return Answer()


if __name__ == "__main__":
    print(answer(Request.model_validate_json(sys.stdin.read())).model_dump_json())  # noqa: T201
