"""Every method of the catalogue has a class."""

import pytest

from detection.distillation.cwd import Cwd
from detection.distillation.inheriting import Inheriting
from detection.distillation.method import DistillationMethod
from detection.distillation.registry import method_class
from searchd.domain.distillation_methods import MethodName


@pytest.mark.parametrize("name", MethodName)
def test_class_of_a_method_is_in_the_module_of_its_name(name: MethodName) -> None:
    found = method_class(name)

    assert issubclass(found, DistillationMethod)
    assert found.__module__ == f"detection.distillation.{name}"


def test_classes_that_a_module_imports_are_not_its_method() -> None:
    assert method_class(MethodName.CWD) is Cwd
    assert method_class(MethodName.INHERITING) is Inheriting
