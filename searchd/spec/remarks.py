"""What trainings make of their settings, in sentences for a user before anything starts: learning
rates that follow the batch, and warm-ups of methods that outlast a training. Pure."""

from collections.abc import Iterable
from itertools import product
from math import ceil

from searchd.domain.errors import InvalidValueError
from searchd.domain.method_options import IcdOptions
from searchd.spec.budget import finishing_training
from searchd.spec.distillations import DistillationSpec
from searchd.spec.pool import PoolSpec
from searchd.spec.search import BaseSpec, SearchSpec
from searchd.spec.strategies import PoolSearchSpec
from searchd.spec.training import MethodsSpec, TrainingSpec


def rates_of_search(spec: SearchSpec) -> list[str]:
    """Return the learning rates of a search, of all that it trains."""
    rates = _of_base(spec.base)
    if isinstance(spec.strategy, PoolSearchSpec):  # its subnets are trained already
        return rates
    rates.append(rate("trials", spec.trial))
    finish = spec.budget.finish
    if finish is not None:
        rates.append(rate("finishing trainings", finishing_training(spec.trial, finish)))
    return rates


def rates_of_distillation(spec: DistillationSpec) -> list[str]:
    """Return the learning rates of a distillation, with every value of its sweep."""
    rates = [rate("stages", each.trial) for each in spec.variants]
    return [*_of_base(spec.base), *dict.fromkeys(rates)]


def rates_of_pool(spec: PoolSpec) -> list[str]:
    """Return the learning rates of a pool's phases; none if it is imported."""
    phases = spec.phases if spec.source is None else ()
    trainings = [
        (each.name, spec.training.model_copy(update={"learning_rate": each.learning_rate}))
        for each in phases
    ]
    return [rate(f"phase {name}", training, spec.num_workers) for name, training in trainings]


def rate(what: str, training: TrainingSpec, devices: int = 1) -> str:
    """Return the learning rate of a training after its warm-up, and how it follows from the batch.

    Args:
        what: What is trained, in words.
        training: Its settings.
        devices: Number of devices that train together.
    """
    given, base = training.learning_rate, training.base_batch_size
    if training.batch_size == "auto":
        return f"{what}: {given:g} for {base} images a step, scaled to the number that fits memory"
    images = training.batch_size * devices
    if base is None:
        return f"{what}: {given:g} for {images} images a step, as given"
    return (
        f"{what}: {given * images / base:.3g} for {images} images a step, from {given:g} for {base}"
    )


def warmup_warnings(spec: SearchSpec, images: int | None) -> list[str]:
    """Return the methods of a search that teach nothing in its first trials.

    Args:
        spec: The search.
        images: Number of training images; None if it is not known.
    """
    return [
        f"distillation: {name} warms up for {warmup} iterations and a trial has {length}: it "
        f"teaches a student from trial {warmup // length + 1} of its lineage on; leave "
        "warmup_iterations out for a tenth of a trial"
        for name, warmup, length in _outlasting(spec.distillation, spec.trial, images)
    ]


def check_warmups(spec: DistillationSpec, images: int | None) -> None:
    """Check that every method of a distillation teaches within a stage, since a new teacher has
    new adapters, whose warm-up starts anew. Those of a trial's student may be warm already.

    Args:
        spec: The distillation.
        images: Number of training images; None if it is not known.

    Raises:
        InvalidValueError: One does not; the message says how many iterations a stage has.
    """
    if spec.student.trial is not None:
        return
    for teacher, variant in product(spec.teacher_names, spec.variants):
        for methods in variant.every_methods_of(teacher):
            for name, warmup, length in _outlasting(methods, variant.trial, images):
                raise InvalidValueError(
                    f"teacher {teacher!r}: {name} warms up for warmup_iterations={warmup} and a "
                    f"stage has {length} iterations, so it would teach nothing; give less, or "
                    "leave it out for a tenth of the stage"
                )


def _of_base(base: BaseSpec | None) -> list[str]:
    is_trained = base is not None and (not base.is_loaded or base.fine_tune)
    return [rate("base", base.training)] if base is not None and is_trained else []


def _outlasting(
    methods: MethodsSpec, training: TrainingSpec, images: int | None
) -> Iterable[tuple[str, int, int]]:
    """Yield the methods whose warm-up is at least as long as a training, with both lengths in
    iterations."""
    if images is None or training.batch_size == "auto":
        return
    length = training.epochs * ceil(images / training.batch_size)
    for name, options in methods.options.items():
        warmup = options.warmup_iterations if isinstance(options, IcdOptions) else None
        if warmup is not None and warmup >= length:
            yield name, warmup, length
