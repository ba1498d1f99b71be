"""From a proposal to the task of a worker, with everything that the trial inherits."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from searchd.domain.detector import Detector
from searchd.domain.distillation_methods import MethodName
from searchd.domain.distillation_plan import Plan
from searchd.domain.retries import BATCH_SIZE, RATE_FACTOR
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import (
    RegisteredTeacher,
    SimultaneousTeachers,
    TeacherCandidates,
    Teaching,
    teachers_of,
)
from searchd.domain.trial import BASE_NAME, Finish, Proposal, TakeSubnet, TrainSwept, TrialRole
from searchd.driver.run import Run, attempt_folder
from searchd.messages.tasks import (
    EarlyStoppingRule,
    Inherited,
    LoadedBase,
    PoolRef,
    TrialTask,
    device_of,
    gpu_memory_of,
    threads_of,
)
from searchd.search.early_stopping import abandon_below, rungs_of
from searchd.search.growing_history import Ended
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.settings import Settings
from searchd.spec import (
    BaseSpec,
    DistillationSpec,
    MethodsSpec,
    ResolutionText,
    SearchSpec,
    TrainingSpec,
    finishing_training,
)
from searchd.store.models import TrialRow
from searchd.store.resources import teachers
from searchd.store.runs import lineage, trials

NO_METHODS = MethodsSpec(methods=())


def make_task(
    session: Session,
    run: Run,
    settings: Settings,
    proposal: Proposal,
    plan: Plan | None,
    pool: PoolRef | None,
) -> TrialTask:
    """Return the task of the next attempt at a proposed trial.

    Args:
        session: A reading session.
        run: The run of the trial.
        settings: The root of artifacts, and intervals of workers.
        proposal: The trial.
        plan: The plan of a distillation, once it is made.
        pool: The pool of the run, if the trial needs it (`needs_pool`).

    Raises:
        ConflictError: Its parent has no student, or its teacher is not ready.
    """
    row = session.get_one(TrialRow, trials.trial_id(run.id, proposal.name))
    attempt = row.attempt + 1
    is_base = proposal.role is TrialRole.BASE
    taught_by = () if proposal.teacher is None else teachers_of(proposal.teacher)
    inherited, methods = _inherited(session, run, row, plan)
    resources = run.spec.resources
    return TrialTask(
        search=run.id,
        proposal=proposal,
        attempt=attempt,
        dataset=run.dataset,
        detector=_new_base(run) if is_base else None,
        pretrained=base.pretrained if is_base and (base := _base_spec(run)) else None,
        loaded_base=_loaded_base(session, run) if is_base else None,
        inherited=inherited,
        pool=pool,
        registered={
            teacher.teacher: teachers.reference(session, teacher.teacher)
            for teacher in taught_by
            if isinstance(teacher, RegisteredTeacher)
        },
        teacher_resolution=_teacher_resolution(run) if taught_by else None,
        training=training_of(run, row),
        distillation=methods,
        score=run.spec.score,
        table=None if run.device is None else run.device.table,
        evaluated_at=run.spec.trial.resolutions,
        artifacts=attempt_folder(settings, run.id, proposal.name, attempt),
        previous_attempts=tuple(
            attempt_folder(settings, run.id, proposal.name, earlier)
            for earlier in range(attempt - 1, 0, -1)
        ),
        num_threads=threads_of(resources.cpus_per_trial),
        device=device_of(resources.gpus_per_trial),
        gpu_memory=gpu_memory_of(resources.gpus_per_trial, limited=settings.limit_gpu_memory),
        slice_s=settings.slice_s,
        checkpoint_s=settings.checkpoint_s,
    )


def student_of(session: Session, run: Run, trial: str) -> Inherited:
    """Return the student of the run's trial of this name, as a child inherits it.

    If the base is the student of another run, the adapters are those of that run's trial.

    Raises:
        NotFoundError: There is no such trial.
        ConflictError: It has no student.
    """
    found = trials.inherited(session, trials.trial_id(run.id, trial))
    if trial == BASE_NAME and run.origin_id is not None:
        origin = trials.inherited(session, run.origin_id)
        return found.model_copy(update={"adapters": origin.adapters})
    return found


def training_of(run: Run, trial: TrialRow) -> TrainingSpec:
    """Return the training of the next attempt at a trial: the spec's, or that of finishing, with
    the adjustments that failed attempts led to."""
    spec = _training(run, trial.proposal)
    factor = trial.adjustments.get(RATE_FACTOR, 1.0)
    changes: dict[str, float] = {}
    if BATCH_SIZE in trial.adjustments:
        changes["batch_size"] = batch_size = int(trial.adjustments[BATCH_SIZE])
        if spec.base_batch_size is None:  # otherwise the rate follows the batch size by itself
            assert spec.batch_size != "auto"  # `TrainingSpec` sets base_batch_size for auto
            factor *= batch_size / spec.batch_size
    changes["learning_rate"] = spec.learning_rate * factor
    return spec.model_copy(update=changes)


def _inherited(
    session: Session, run: Run, trial: TrialRow, plan: Plan | None
) -> tuple[Inherited | None, MethodsSpec]:
    """Return the parent's student and the methods of this trial."""
    proposal = trial.proposal
    methods = _methods(run, proposal, plan)
    if proposal.parent is None or isinstance(proposal.change, TakeSubnet):
        return None, methods
    assert trial.parent_id is not None  # the proposed parent, or after a retry another one
    inherited = student_of(session, run, trial.parent_id.removeprefix(trials.trial_id(run.id, "")))
    may_repeat = MethodName.INHERITING in methods.options
    if isinstance(run.spec, SearchSpec) and not run.spec.registered and not may_repeat:
        return inherited, methods
    line = lineage.proposals(session, trial.parent_id)
    if isinstance(run.spec, SearchSpec):
        methods = _acting_once(run.spec, methods, line)
        if not run.spec.registered:
            return inherited, methods
    earlier = [
        _one_for_all_subnets(run, ancestor.teacher)
        for ancestor in line
        if ancestor.teacher is not None
    ]
    teacher = proposal.teacher and _one_for_all_subnets(run, proposal.teacher)
    return handed_on(teacher, earlier, inherited, methods)


def _acting_once(search: SearchSpec, methods: MethodsSpec, line: Sequence[Proposal]) -> MethodsSpec:
    """Leave out the inheriting strategy if it has acted on an ancestor of the student and a trial
    without a teacher came since: that it has acted is recorded in the adapters, which such a trial
    does not hand on."""
    acted = False
    for proposal in line:
        if acted and proposal.teacher is None:
            return _without_inheriting(methods)
        names = search.distillation.of_trial(proposal.methods).options
        acted = acted or (proposal.teacher is not None and MethodName.INHERITING in names)
    return methods


def _without_inheriting(methods: MethodsSpec) -> MethodsSpec:
    kept = tuple(each for each in methods.methods if each.name is not MethodName.INHERITING)
    return methods.model_copy(update={"methods": kept})


def _one_for_all_subnets(run: Run, teacher: Teaching) -> Teaching:
    """Return the same subnet for all subnets of a search's pool, since its adapters fit all of
    them; any other teacher unchanged."""
    if isinstance(run.spec, SearchSpec) and isinstance(teacher, Subnet):
        assert run.pool_spec is not None  # where the subnet is from
        return run.pool_spec.space.space.largest
    return teacher


def _methods(run: Run, proposal: Proposal, plan: Plan | None) -> MethodsSpec:
    if proposal.teacher is None:
        return NO_METHODS
    if isinstance(run.spec, SearchSpec):
        return run.spec.distillation.of_trial(proposal.methods)
    if isinstance(proposal.teacher, SimultaneousTeachers | TeacherCandidates):
        return run.spec.distillation
    assert plan is not None  # stages are proposed by it
    names = {teacher: name for name, teacher in plan.teachers.items()}
    return _as_swept(run.spec, proposal).methods_of(names[proposal.teacher])


def _as_swept(spec: DistillationSpec, proposal: Proposal) -> DistillationSpec:
    """Return a distillation with the value of its sweep that a trial is trained with, if any."""
    change = proposal.change
    return spec.with_value(change.value) if isinstance(change, TrainSwept) else spec


def needs_pool(proposal: Proposal) -> bool:
    """Return whether the student of a trial, or a teacher, is a subnet of the pool."""
    taught_by = () if proposal.teacher is None else teachers_of(proposal.teacher)
    from_pool = any(isinstance(teacher, Subnet) for teacher in taught_by)
    return from_pool or isinstance(proposal.change, TakeSubnet)


def _base_spec(run: Run) -> BaseSpec | None:
    return None if run.origin_id is not None else run.spec.base


def _new_base(run: Run) -> Detector | None:
    base = _base_spec(run)
    architecture = None if base is None else base.architecture
    if architecture is None:
        return None
    return run.spec.head.detector(architecture, run.num_classes)


def _loaded_base(session: Session, run: Run) -> LoadedBase | Inherited | None:
    if run.origin_id is not None:
        return trials.inherited(session, run.origin_id)
    base = _base_spec(run)
    if base is None or not base.is_loaded:
        return None
    return LoadedBase(
        mmdet=base.mmdet, export=base.export, fine_tune=base.fine_tune, head=run.spec.head
    )


def _training(run: Run, proposal: Proposal) -> TrainingSpec:
    base = _base_spec(run)
    if proposal.role is TrialRole.BASE and base is not None:
        return base.training
    if isinstance(run.spec, DistillationSpec):  # it finishes nothing
        return _as_swept(run.spec, proposal).trial
    if not isinstance(proposal.change, Finish):
        return run.spec.trial
    assert run.spec.budget.finish is not None  # nor does a search without it; extensions keep it
    return finishing_training(run.spec.trial, run.spec.budget.finish)


def _teacher_resolution(run: Run) -> ResolutionText | None:
    return run.spec.teacher_resolution if isinstance(run.spec, DistillationSpec) else None


def handed_on(
    teacher: Teaching | None,
    earlier: Sequence[Teaching],
    inherited: Inherited,
    distillation: MethodsSpec,
) -> tuple[Inherited, MethodsSpec]:
    """Return the student that a stage inherits and the methods that it distils by
    (docs/papers.md 2.6).

    Weights are always inherited, adapters only from a stage with the same teacher. The inheriting
    strategy, which records in the adapters that it has acted, is left out once the student had
    another teacher.

    Args:
        teacher: The stage's teacher.
        earlier: The teachers of the earlier stages, in order.
        inherited: The parent's student with its adapters.
        distillation: The methods that were submitted.
    """
    if not earlier or earlier[-1] != teacher:
        inherited = inherited.model_copy(update={"adapters": None})
    if any(other != teacher for other in earlier):
        distillation = _without_inheriting(distillation)
    return inherited, distillation


def early_stopping_rule(
    run: Run,
    strategy: Strategy,
    proposal: Proposal,
    seen: Ended | None,
    base_cost: float | None,
) -> EarlyStoppingRule | None:
    """Return the rule that may stop a trial before its last epoch. None for trials of another role
    or strategy.

    Args:
        run: The run of the trial.
        strategy: Its strategy.
        proposal: The trial.
        seen: What had ended when the trial was proposed; None if it is not in flight.
        base_cost: What the base costs; None while it is not trained.
    """
    if not isinstance(strategy, JointDetNas) or not (strategy.abandon or strategy.rungs):
        return None
    if proposal.role is not TrialRole.SEARCH:
        return None
    assert base_cost is not None  # search trials come after the base
    known = seen if strategy.abandon else None
    return EarlyStoppingRule(
        base_macs=base_cost,
        abandons=strategy.abandon,
        abandon_below=None if known is None else abandon_below(strategy, proposal, known),
        rungs=rungs_of(strategy, proposal, seen, run.spec.trial.epochs),
    )
