"""What a stage takes over: the student always, adapters under the same teacher alone."""

from searchd.domain.distillation_methods import MethodName
from searchd.domain.subnet import Subnet
from searchd.driver.trial_tasks import handed_on
from searchd.messages.tasks import Inherited
from searchd.spec import MethodSpec, MethodsSpec
from tests.searchd.store import factories

SPACE = factories.pool_spec().space.space
A, B = SPACE.smallest, SPACE.largest
PARENT = Inherited(
    detector=factories.detector(),
    student=factories.artifact("student"),
    adapters=factories.artifact("adapters"),
)
METHODS = MethodsSpec(
    methods=(MethodSpec(name=MethodName.FEATURE_MATCHING), MethodSpec(name=MethodName.INHERITING))
)


def taken_over(teacher: Subnet | None, *earlier: Subnet) -> tuple[bool, list[str]]:
    """Whether adapters are inherited, and the methods."""
    inherited, distillation = handed_on(teacher, earlier, PARENT, METHODS)
    assert inherited.student == PARENT.student
    return inherited.adapters is not None, [method.name.value for method in distillation.methods]


def test_first_teacher_has_new_adapters_and_every_method() -> None:
    assert taken_over(A) == (False, ["feature_matching", "inheriting"])


def test_same_teacher_continues_with_its_adapters_and_what_they_remember() -> None:
    assert taken_over(A, A) == (True, ["feature_matching", "inheriting"])


def test_another_teacher_has_new_adapters_and_nothing_is_inherited_from_it() -> None:
    assert taken_over(B, A) == (False, ["feature_matching"])


def test_adapters_that_know_nothing_of_inheriting_are_not_asked_for_it() -> None:
    assert taken_over(B, A, B) == (True, ["feature_matching"])
