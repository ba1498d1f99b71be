"""How a driver reaches Ray, and the code that needs torch."""

import importlib
import logging
from typing import Any

import ray

from searchd.domain.errors import InvalidValueError
from searchd.settings import Settings


def connect(settings: Settings) -> None:
    """Join the cluster that the settings name; without one, start a Ray that ends with this
    process. Never whatever cluster the machine saw last, which is Ray's own default."""
    ray.init(address=settings.ray_address or "local", logging_level=logging.WARNING)


def resolve(path: str) -> Any:
    """What a dotted path such as "workers.trial.trainable:TrialTrainable" names.

    Raises:
        InvalidValueError: There is no such module or name; says so with the path.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise InvalidValueError(f"{path!r} is not module:name of something: {error}") from error
