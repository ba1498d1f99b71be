"""What trials start from: student and adapters of earlier stages, or the weights of a base."""

from pathlib import Path

from sqlalchemy import update

from searchd.domain.distillation_methods import MethodName
from searchd.domain.subnet import Subnet
from searchd.driver.ledger import Ledger
from searchd.driver.trial_tasks import handed_on
from searchd.messages.tasks import Inherited, LoadedBase, TrialTask
from searchd.settings import Settings
from searchd.spec import (
    BaseSpec,
    HeadSpec,
    MethodSpec,
    MethodsSpec,
    PretrainedSpec,
    SearchSpec,
    TrainingSpec,
)
from searchd.store import Database, Lease
from searchd.store.models import RunRow
from tests.searchd.driver.bookkeeping import BASE
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


def base_task(database: Database, lease: Lease, settings: Settings, spec: SearchSpec) -> TrialTask:
    with database.write() as session:
        session.execute(update(RunRow).values(spec=spec))
    ledger = Ledger(database, lease, settings)
    ledger.propose(BASE)
    return ledger.task(BASE)


def test_task_of_a_base_names_the_weights_that_it_starts_from(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    imagenet = PretrainedSpec(timm="resnet50.a1_in1k")
    trained = factories.search_spec(base=BaseSpec(backbone="resnet50", pretrained=imagenet))

    task = base_task(sqlite, lease, settings, trained)

    assert task.pretrained == imagenet
    assert task.detector is not None
    assert task.loaded_base is None


def test_task_of_a_loaded_base_says_whether_it_is_fine_tuned(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    base = BaseSpec(export=Path("/data/exported"), fine_tune=True, training=TrainingSpec(epochs=5))

    task = base_task(sqlite, lease, settings, factories.search_spec(base=base))

    assert task.loaded_base == LoadedBase(
        export=Path("/data/exported"), fine_tune=True, head=HeadSpec()
    )
    assert task.detector is None
    assert task.training.epochs == 5
