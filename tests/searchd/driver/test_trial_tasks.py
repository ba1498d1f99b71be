"""What trials start from: student and adapters of earlier stages, or the weights of a base."""

from dataclasses import replace
from pathlib import Path

from searchd.domain.distillation_methods import MethodName
from searchd.domain.lifecycle import FailureCause
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Finish
from searchd.driver.trial_tasks import handed_on
from searchd.messages.tasks import Inherited, LoadedBase, TrialTask
from searchd.settings import Settings
from searchd.spec import (
    BaseSpec,
    BudgetSpec,
    FinishBudgetSpec,
    HeadSpec,
    MethodSpec,
    MethodsSpec,
    PretrainedSpec,
    ResourcesSpec,
    SearchSpec,
    TrainingSpec,
)
from searchd.store import Database, Lease, events
from tests.searchd.driver.bookkeeping import BASE, failed, started, submitted
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
    ledger = submitted(database, lease, settings, spec)
    ledger.propose(BASE)
    return ledger.task(BASE)


def test_a_trial_with_half_a_gpu_has_half_its_memory(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    shared = factories.search_spec(resources=ResourcesSpec(gpus_per_trial=0.5))

    task = base_task(sqlite, lease, settings, shared)

    assert (task.device, task.gpu_memory) == ("cuda", 0.5)


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


def test_a_student_inherits_neck_and_head_once_also_after_a_trial_without_a_teacher(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    """Such a trial hands on no adapters, beside which it is recorded that the student has."""
    ledger = submitted(sqlite, lease, settings, factories.search_spec(distillation=METHODS))
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    lineage = [factories.search_proposal(0), factories.search_proposal(2, "0")]
    lineage += [factories.search_proposal(4, "2", teacher=None)]
    lineage += [factories.search_proposal(6, "4"), factories.search_proposal(8, "6")]
    found = []
    for proposal in lineage:
        started(ledger, proposal)
        found.append([each.name.value for each in ledger.task(proposal).distillation.methods])
        ledger.record(factories.succeeded(proposal.name))
    both = ["feature_matching", "inheriting"]
    assert found == [both, both, [], ["feature_matching"], ["feature_matching"]]


def test_task_of_a_finishing_training_and_of_a_finished_control_follow_its_schedule(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    trial = TrainingSpec(epochs=3, learning_rate=0.02, warmup_iterations=9, bn_l1=1e-5)
    budget = BudgetSpec(finish=FinishBudgetSpec(epochs=8))
    spec = factories.search_spec(trial=trial, budget=budget)
    ledger = submitted(sqlite, lease, settings, spec)
    first, control = factories.search_proposal(0), factories.control_proposal(1)
    finish = factories.finish_proposal(1, "0")
    finished_control = replace(factories.control_proposal(2, "control-1"), change=Finish())
    for proposal in (BASE, first, control):
        started(ledger, proposal)
        ledger.record(factories.succeeded(proposal.name))
    for proposal in (finish, finished_control):
        ledger.propose(proposal)

    taught, plain = ledger.task(finish), ledger.task(finished_control)

    expected = TrainingSpec(epochs=8, learning_rate=0.02, warmup_iterations=0, bn_l1=0)
    assert taught.training == plain.training == expected
    assert ledger.task(first).training == trial
    assert taught.inherited is not None
    assert taught.inherited.adapters is not None
    assert taught.distillation == MethodsSpec()
    assert plain.distillation.methods == ()


def test_finishing_training_that_fails_is_an_event_and_not_the_end(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    ledger = submitted(sqlite, lease, settings, factories.search_spec(budget=BudgetSpec()))
    for proposal in (BASE, factories.search_proposal(0)):
        started(ledger, proposal)
        ledger.record(factories.succeeded(proposal.name))
    started(ledger, factories.finish_proposal(1, "0"))

    ledger.record(failed("finish-1", FailureCause.BUG))

    with sqlite.read() as session:
        found = [event.message for event in events.after(session, ledger.run_id)]
    assert "finishing: finish-1 failed, so that trial 0 stays as it is" in found
