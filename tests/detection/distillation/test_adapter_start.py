"""New linear adapters start by least squares, once, and the teacher's variance is measured."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn

from detection.data.coco import CocoSplit
from detection.distillation.adapter_start import map_of
from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from detection.distillation.sums import Sums
from detection.training import Training
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec, SplitSpec, TrainingSpec
from tests.detection.distillation.every_method import student_for, teacher_for
from tests.detection.two_processes import run_in_two_processes

pytestmark = pytest.mark.timeout(60)

LINEAR = (
    MethodName.PROPOSAL_FEATURE,
    MethodName.FEATURE_MATCHING,
    MethodName.FEATURE_IMITATION,
    MethodName.SGFI,
    MethodName.CWD,
    MethodName.FGD,
    MethodName.MGD,
    MethodName.ICD,
)
SPEC = TrainingSpec(
    epochs=1, batch_size=4, learning_rate=0.01, resolutions=(Resolution(64, 64),), max_grad_norm=5
)


def distiller_of(
    student: Any,
    teachers: Sequence[nn.Module],
    split: CocoSplit,
    *methods: MethodSpec,
    widest: int | None = None,
) -> Distiller:
    torch.manual_seed(5)
    pairs = [pair_of(student, each, split, max_teacher_channels=widest) for each in teachers]
    return Distiller(methods, teachers, pairs)


def training_of(name: MethodName, split: CocoSplit, **options: Any) -> tuple[Training, Distiller]:
    student = student_for(name)
    spec = MethodSpec(name=name, options=options)
    distiller = distiller_of(student, [teacher_for(3, 12)], split, spec)
    return Training(student, split, SPEC, seed=0, distiller=distiller), distiller


def started(name: MethodName, split: CocoSplit, **options: Any) -> tuple[Training, Distiller]:
    training, distiller = training_of(name, split, **options)
    for _ in training.start_adapters():
        pass
    return training, distiller


def errors(training: Training, distiller: Distiller, name: MethodName) -> list[float]:
    """The squared error of the adapters on the first batch, place by place."""
    torch.manual_seed(training.seed_of(0))
    training.model.train()
    with torch.no_grad():
        taps = student_step(training.model, training.batches.batch(0)).taps
        ((methods, teacher),) = distiller.sets(taps, None)
        places = methods[name].compared(taps, teacher).values()
        return [
            float(
                (each.adapter(each.student, each.teacher.shape[1]) - each.teacher).square().mean()
            )
            for each in places
            if each.adapter is not None
        ]


def state_of(training: Training) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in training.model.state_dict().items()}


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_linear_relation_is_found_exactly(kernel: int) -> None:
    torch.manual_seed(0)
    features, wanted = torch.randn(2, 3, 8, 8), torch.nn.Conv2d(3, 5, 1)
    adapter = ChannelAdapter(4, 6, kernel)  # the widest student and teacher have one more channel
    with torch.no_grad():
        target = wanted(features)
        sums = Sums.of(Compared(student=features, teacher=target, adapter=adapter))
        adapter.start(sums.equations.solve())
        torch.testing.assert_close(adapter(features, 5), target, atol=1e-5, rtol=0)
    assert sums.explained(map_of(adapter, 5)) == pytest.approx(1)
    assert sums.variance == pytest.approx(float(target.var(dim=(0, 2, 3), correction=0).mean()))
    assert adapter.num_used() == 5


@pytest.mark.parametrize("name", LINEAR)
def test_a_fitted_adapter_leaves_a_smaller_error_than_a_random_one(
    name: MethodName, shapes: CocoSplit
) -> None:
    random = errors(*training_of(name, shapes), name)
    training, distiller = started(name, shapes)
    assert sum(errors(training, distiller, name)) < 0.5 * sum(random)
    assert "new adapters start by least squares and explain" in training.start_notes[-1]


def test_every_level_is_reported(shapes: CocoSplit) -> None:
    training, _ = started(MethodName.FEATURE_MATCHING, shapes)
    too_few, fitted = training.start_notes
    assert too_few == (
        "feature_matching: the adapter at stride 64 keeps its random start: the training images "
        "have 8 cells there, and least squares need 18"
    )
    assert fitted.startswith("feature_matching: new adapters start by least squares and explain ")
    assert [f"% at stride {stride}" in fitted for stride in (4, 8, 16, 32, 64)] == [True] * 4 + [
        False
    ]


def test_the_pass_changes_nothing_but_the_adapters(shapes: CocoSplit) -> None:
    training, _ = training_of(MethodName.FEATURE_MATCHING, shapes)
    before = state_of(training)
    for _ in training.start_adapters():
        pass
    torch.testing.assert_close(state_of(training), before, atol=0, rtol=0)
    assert all(parameter.grad is None for parameter in training.model.parameters())


def test_random_adapters_stay_as_they_were_built(shapes: CocoSplit) -> None:
    training, distiller = training_of(MethodName.PROPOSAL_FEATURE, shapes, start="random")
    before = {name: value.clone() for name, value in distiller.state_dict().items()}
    assert list(training.start_adapters()) == []
    assert training.start_notes == ()
    torch.testing.assert_close(distiller.state_dict(), before, atol=0, rtol=0)


def test_inherited_adapters_that_fit_are_not_changed(shapes: CocoSplit) -> None:
    _, parents = training_of(MethodName.PROPOSAL_FEATURE, shapes)
    training, distiller = training_of(MethodName.PROPOSAL_FEATURE, shapes)
    distiller.load_state_dict(parents.state_dict())
    assert list(training.start_adapters()) == []
    torch.testing.assert_close(distiller.state_dict(), parents.state_dict(), atol=0, rtol=0)


def test_the_adapters_of_a_method_that_the_parent_did_not_have_start(shapes: CocoSplit) -> None:
    kept, new = (
        MethodSpec(name=name) for name in (MethodName.PROPOSAL_FEATURE, MethodName.FEATURE_MATCHING)
    )
    _, parent = training_of(kept.name, shapes)
    student = student_for(kept.name)
    distiller = distiller_of(student, [teacher_for(3, 12)], shapes, kept, new)
    distiller.load_state_dict(parent.state_dict())
    training = Training(student, shapes, SPEC, seed=0, distiller=distiller)
    for _ in training.start_adapters():
        pass
    assert {note.split(":")[0] for note in training.start_notes} == {"feature_matching"}
    assert "new adapters start by least squares" in training.start_notes[-1]
    for key, value in parent.state_dict().items():
        assert torch.equal(distiller.state_dict()[key], value)


def test_outputs_that_no_narrower_teacher_used_start_when_a_wider_one_teaches(
    shapes: CocoSplit,
) -> None:
    method = MethodSpec(name=MethodName.PROPOSAL_FEATURE)
    student = student_for(method.name)

    def started_under(width: int, inherited: dict[str, Tensor] | None = None) -> Distiller:
        distiller = distiller_of(student, [teacher_for(3, width)], shapes, method, widest=20)
        if inherited is not None:
            distiller.load_state_dict(inherited)
        for _ in Training(student, shapes, SPEC, seed=0, distiller=distiller).start_adapters():
            pass
        return distiller

    key = "proposal_feature.adapter.weight"
    narrow = {name: value.clone() for name, value in started_under(12).state_dict().items()}
    assert narrow[key][:12].flatten(1).any(dim=1).all()
    assert not narrow[key][12:].any()
    wide = started_under(20, narrow).state_dict()
    torch.testing.assert_close(wide[key][:12], narrow[key][:12], atol=0, rtol=0)
    assert wide[key][12:].flatten(1).any(dim=1).all()


def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(shapes: CocoSplit) -> None:
    options = {"normalise": "teacher_variance"}
    straight, _ = training_of(MethodName.FEATURE_MATCHING, shapes, **options)
    steps, checkpoint = straight.run(), io.BytesIO()
    next(steps)
    torch.save(straight.state_dict(), checkpoint)
    list(steps)

    resumed, distiller = training_of(MethodName.FEATURE_MATCHING, shapes, **options)
    checkpoint.seek(0)
    resumed.load_state_dict(torch.load(checkpoint, weights_only=True))
    assert list(resumed.start_adapters()) == []
    list(resumed.run())
    torch.testing.assert_close(state_of(resumed), state_of(straight), atol=0, rtol=0)
    assert (distiller.resume_state()["feature_matching.variance.values"] != 1).all()


def test_a_checkpoint_without_variances_continues_in_the_units_it_began_with(
    shapes: CocoSplit,
) -> None:
    _, distiller = training_of(MethodName.SGFI, shapes, normalise="teacher_variance")
    old = distiller.resume_state()
    del old["sgfi.variance.values"]
    distiller.load_resume_state(old)
    assert distiller.resume_state()["sgfi.variance.values"].tolist() == [1.0]


@pytest.mark.parametrize("name", LINEAR[:4])
def test_a_loss_in_units_of_the_variance_is_the_unexplained_share(
    name: MethodName, shapes: CocoSplit
) -> None:
    found = []
    for normalise in ("none", "teacher_variance"):
        training, distiller = started(name, shapes, normalise=normalise)
        torch.manual_seed(0)
        training.model.train()
        with torch.no_grad():
            taps = student_step(training.model, training.batches.batch(0)).taps
            found.append(float(distiller(taps)[name]))
    raw, share = found
    variances = distiller.resume_state()[f"{name}.variance.values"]
    assert variances.min() > 0
    # A mean of quotients, and therefore between the quotients by the extreme variances.
    assert raw / float(variances.max()) * 0.999 <= share <= raw / float(variances.min()) * 1.001


def test_each_of_several_teachers_gets_its_own_adapters(shapes: CocoSplit) -> None:
    name = MethodName.PROPOSAL_FEATURE
    student, teachers = student_for(name), [teacher_for(3, 12), teacher_for(4, 20)]
    distiller = distiller_of(student, teachers, shapes, MethodSpec(name=name))
    training = Training(student, shapes, SPEC, seed=0, distiller=distiller)
    for _ in training.start_adapters():
        pass
    first, second = training.start_notes
    assert first.startswith("proposal_feature of teacher 0: new adapters start by least squares")
    assert second.startswith("proposal_feature of teacher 1: new adapters start by least squares")


def test_data_parallel_ranks_start_with_the_map_of_all_their_images(
    shapes: CocoSplit, tmp_path: Path
) -> None:
    run_in_two_processes(_rank, shapes.spec, str(tmp_path))
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    assert first["feature_imitation.variance.values"].max() != 1


def _rank(rank: int, spec: SplitSpec, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    split, name = CocoSplit(spec), MethodName.FEATURE_IMITATION
    student = student_for(name)
    method = MethodSpec(name=name, options={"normalise": "teacher_variance"})
    distiller = distiller_of(student, [teacher_for(3, 12)], split, method)
    halves = SPEC.model_copy(update={"batch_size": 2})
    training = Training(
        student, split, halves, seed=0, distiller=distiller, rank=rank, world_size=2
    )
    for _ in training.start_adapters():
        pass
    torch.save(distiller.resume_state(), f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()


def test_methods_without_a_linear_adapter_have_no_such_option() -> None:
    with pytest.raises(ValueError, match="ckd has no option start"):
        MethodSpec(name=MethodName.CKD, options={"start": "least_squares"})
    with pytest.raises(ValueError, match="start_images=0 must be positive"):
        MethodSpec(name=MethodName.CWD, options={"start_images": 0})
