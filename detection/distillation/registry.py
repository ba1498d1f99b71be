"""Finds the class of a distillation method: the one in the module of the method's name."""

from functools import cache
from importlib import import_module

from detection.distillation.method import DistillationMethod
from searchd.domain.distillation_methods import MethodName


@cache
def method_class(name: MethodName) -> type[DistillationMethod]:
    """Return the class of a method: the only subclass of `DistillationMethod` that the module
    `detection.distillation.<name>` defines."""
    module = import_module(f"detection.distillation.{name}")
    (found,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, DistillationMethod)
        and each.__module__ == module.__name__
    )
    return found
