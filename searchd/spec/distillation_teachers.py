"""Whether the teachers of a distillation exist in its pool, and whether its methods fit them."""

from collections.abc import Iterator

from searchd.domain.distillation_plan import sample_teachers
from searchd.domain.method_fit import Traits, check_fit
from searchd.domain.subnet import Subnet
from searchd.spec.distillations import DistillationSpec
from searchd.spec.pool import PoolSpec
from searchd.spec.search import traits_of
from searchd.spec.training import HeadSpec, MethodsSpec


def subnets_of(spec: DistillationSpec, pool: PoolSpec) -> dict[str, Subnet]:
    """The teachers that are subnets of the pool, by name.

    Raises:
        InvalidValueError: A subnet is not in the pool, or the pool has fewer subnets than sampled.
    """
    space = pool.space.space
    if spec.num_sampled_teachers is not None:
        return sample_teachers(space, spec.num_sampled_teachers, spec.seed)
    found = {name: each for name, each in spec.teachers.items() if isinstance(each, Subnet)}
    for subnet in found.values():
        space.check(subnet)
    return found


def check_subnets(spec: DistillationSpec, pool: PoolSpec, head: HeadSpec) -> None:
    """Check that the subnets among the teachers are in the pool, and that the methods fit them.

    Args:
        spec: The submitted distillation.
        pool: The pool that the subnets are taken from.
        head: The head of the student.

    Raises:
        InvalidValueError: A subnet is not in the pool, or a method does not fit student and
            teacher; the message names both.
    """
    teacher = traits_of(pool.head, neck_channels=pool.space.neck_channels)
    for name in subnets_of(spec, pool):
        whose = f"teacher {name!r} of pool {pool.name!r}"
        for methods in _every_methods_of(spec, name):
            check_fit(methods.options, traits_of(head), teacher, whose=whose)


def check_registered(
    spec: DistillationSpec, label: str, head: HeadSpec, teacher: Traits | None
) -> None:
    """Check that the methods of a distillation fit a registered teacher.

    Args:
        spec: The submitted distillation.
        label: Name of the teacher in its order.
        head: The head of the student.
        teacher: Traits of the teacher; None: not known before it was built.

    Raises:
        InvalidValueError: A method does not fit; the message says what would fit.
    """
    for methods in _every_methods_of(spec, label):
        check_fit(methods.options, traits_of(head), teacher, whose=f"teacher {label!r}")


def _every_methods_of(spec: DistillationSpec, teacher: str) -> Iterator[MethodsSpec]:
    """Yield the methods by which a teacher teaches, with every value of the sweep."""
    for variant in spec.variants:
        yield from variant.every_methods_of(teacher)
