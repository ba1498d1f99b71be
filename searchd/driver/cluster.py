"""Connects a driver to Ray, and imports the code that needs torch by its path."""

import importlib
import logging
from typing import Any

import ray

from searchd.domain.errors import InvalidValueError
from searchd.settings import Settings


def connect(settings: Settings) -> None:
    """Connect to the cluster in the settings. Without one, start a local Ray that ends with this
    process; Ray's own default would connect to the last cluster that this machine used."""
    ray.init(
        address=settings.ray_address or "local",
        logging_level=logging.WARNING,
        # Ray puts the worker's name before each line that it repeats, which then is not JSON.
        log_to_driver=settings.log_format == "text",
    )


def resolve(path: str) -> Any:
    """Return the object at a path such as "workers.trial.trainable:TrialTrainable".

    Raises:
        InvalidValueError: There is no such module or name.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise InvalidValueError(f"{path!r} is not module:name of something: {error}") from error
