"""The specs of a pool and a search, from a plan, with a reason for each number."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from searchd.domain.detector import Detector, Family
from searchd.recommend.document import Document, Value, plain, to_yaml
from searchd.recommend.methods import methods_of
from searchd.recommend.numbers import DataFacts, Machine, duration
from searchd.recommend.plan import (
    FINISH_PER_TRIAL,
    FINISH_SHARE,
    MOST_EPOCHS_PER_TRIAL,
    MOST_FINISHED,
    PAPER_EPOCHS_PER_TRIAL,
    TRIALS_SHARE,
    Plan,
    Seconds,
    make_plan,
    pool_space,
)
from searchd.spec import PoolSpec, SearchSpec

WARMUP_STEPS, WARMUP_SHARE = 500, 0.1
"""Steps of warm-up of mmdet's schedules, and the largest share of a training that they take."""
MAX_GRAD_NORM = 5.0
POOL_BACKBONE = "resnet50"
"""The published backbone whose blocks are those of a pool."""
WALL_SHARE = 1.25
"""Limit of the wall clock as a share of the budget."""
FROZEN_SHARE = 0.05
"""Share of the trials that change only the teacher (Joint-DetNAS: 5 of 100)."""
RATES_PER_IMAGE = {"new": 0.04 / 8, "loaded": 0.01 / 8}
"""Learning rate per image, of random weights and of loaded ones (mmdet: 0.02 for 16 images)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where the base comes from. The default is random weights."""

    section: Mapping[str, Any] = field(default_factory=dict)
    """Field of `base` that names a whole detector, `mmdet` or `export`; empty for a new base."""
    loaded: Detector | None = None
    """Detector in the checkpoint, if a whole detector is loaded."""
    is_trained: bool = True
    """False if the base is evaluated as it is, without training."""
    pretrained: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By name of a backbone, the `pretrained` section with its weights. Empty: none are wanted."""
    licence: str | None = None
    """Licence of the weights, in any words. None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Specs that fit a time budget, and what to expect of them."""

    pool: PoolSpec
    search: SearchSpec
    pool_yaml: str
    search_yaml: str
    plan: Plan
    documents: Mapping[str, Document]
    """The documents of pool and search, with the reasons."""


def recommend(
    name: str,
    dataset: str,
    data: DataFacts,
    machine: Machine,
    *,
    budget_s: float,
    seconds: Seconds,
    start: Start,
    seed: int = 0,
) -> Recommendation:
    """Recommend the specs of a first search on a data set.

    Args:
        name: Name of the search; its pool is called NAME-teachers.
        dataset: Name of the data set in the service.
        data: What is known of the data set.
        machine: What the machine has.
        budget_s: Wall-clock time for everything, in seconds.
        seconds: The speed of the machine.
        start: Where the base comes from.
        seed: Seed of pool and search.
    """
    plan = make_plan(
        data,
        machine,
        budget_s,
        seconds,
        loaded=start.loaded,
        pretrained=start.pretrained,
        base_is_trained=start.is_trained,
    )
    writer = _Writer(name, dataset, data, machine, budget_s, start, seed, plan)
    pool, search = writer.pool(), writer.search()
    return Recommendation(
        pool=PoolSpec.model_validate(plain(pool)),
        search=SearchSpec.model_validate(plain(search)),
        pool_yaml=to_yaml(pool, f"Teachers for the search {name}. {writer.basis}"),
        search_yaml=to_yaml(search, f"The search {name}. {writer.basis}"),
        plan=plan,
        documents={"pool": pool, "search": search},
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    name: str
    dataset: str
    data: DataFacts
    machine: Machine
    budget_s: float
    start: Start
    seed: int
    plan: Plan

    @property
    def basis(self) -> str:
        data = self.data
        return (
            f"Recommended for {data.train_images} train images of about "
            f"{data.image_width:.0f}x{data.image_height:.0f} pixels with {data.classes} classes, "
            f"{self.machine.cpus} CPUs and {self.machine.gpus} GPUs, and "
            f"{self.budget_s / 3600:.3g} h. Change any number; fields that are not here have their "
            "defaults."
        )

    def pool(self) -> Document:
        plan = self.plan
        space = pool_space(plan.pool, plan.pool_base_channels, plan.student.neck_channels)
        epochs = plan.pool_epochs
        shrink = max(1, epochs // 8)
        pretrained = self.start.pretrained.get(POOL_BACKBONE)
        rate = self._rate("loaded" if pretrained else "new")
        middle = tuple(max(1, depths[-1] // 2) for depths in space.depths)
        smallest = tuple(depths[0] for depths in space.depths)
        widths = plan.pool.widths
        phases = [
            self._phase("supernet", space.largest.depths, widths[-1], rate, epochs - 2 * shrink),
            self._phase("shrink-1", middle, widths[-1], 0.3 * rate, shrink),
            self._phase("shrink-2", smallest, widths[0], 0.3 * rate, shrink),
        ]
        document: dict[str, Any] = {
            "name": Value(f"{self.name}-teachers"),
            "dataset": Value(self.dataset),
            "space": {
                "depths": Value(
                    [list(values) for values in space.depths],
                    "Blocks of each stage: the largest space whose largest network can see the "
                    "data often enough in the time for preparation.",
                ),
                "widths": Value([list(values) for values in space.widths]),
                "neck_channels": Value(
                    list(space.neck_channels), "The student's neck, which it inherits."
                ),
                "resolutions": self._resolutions("Those of the search."),
                "base_channels": Value(
                    space.base_channels, "As the student's, in blocks that are four times as wide."
                ),
                "channel_divisor": Value(space.channel_divisor),
            },
            "head": self._head(Family.FASTER_RCNN),
            "phases": Value(
                phases,
                f"{epochs} epochs, about {duration(plan.pool_s)} on this machine: three quarters "
                "train the largest network, the rest its subnets.",
            ),
            "training": self._training(epochs * self._steps, with_rate=None),
            "cpus_per_worker": Value(
                self.machine.cpus_per_trial, "The base trains at the same time on as many."
            ),
            "gpus_per_worker": Value(min(1, self.machine.gpus)),
            "bn_reset_images": Value(
                min(2000, self.data.train_images), "All train images, at most 2000 (the paper's)."
            ),
            "evaluated_subnets": Value(3),
            "seed": Value(self.seed),
        }
        if pretrained:
            document["pretrained"] = Value(
                dict(pretrained), "Trained on ImageNet; the largest subnet starts from it."
            )
        return document

    def search(self) -> Document:
        plan = self.plan
        return {
            "name": Value(self.name),
            "dataset": Value(self.dataset),
            "pool": Value(f"{self.name}-teachers"),
            "base": self._base(),
            "head": self._search_head(),
            "trial": {
                "epochs": Value(plan.trial_epochs, self._why_trial_epochs()),
                **self._training(
                    plan.trial_epochs * self._steps, with_rate=self._rate("loaded"), warmup=False
                ),
                "bn_l1": Value(0.00001, "Prepares channels for pruning (the paper's value)."),
            },
            "distillation": {
                "methods": Value(
                    *methods_of(plan.student.family, steps=plan.trial_epochs * self._steps)
                )
            },
            "strategy": {
                "student_frozen_trials": Value(
                    round(FROZEN_SHARE * plan.trials),
                    "The paper's 5 of 100: trials that change only the teacher.",
                ),
                "prune_fraction": Value(
                    0.1, "Few trials should reach a clearly smaller student; the paper prunes 0.05."
                ),
                "min_channels": Value(
                    max(3, plan.student.architecture.stem_channels // 2),
                    "Half the stem; the paper's 32 is half of 64.",
                ),
            },
            "score": {
                "base_resolution": Value(str(plan.resolution), "The largest of `resolutions`.")
            },
            "budget": {
                "max_trials": Value(
                    plan.trials,
                    f"A trial takes about {duration(plan.trial_s)}, "
                    f"{self.machine.trials_in_flight} at a time.",
                ),
                "patience": Value(plan.trials, "The time, and not patience, ends a first search."),
                "max_wall_hours": Value(
                    _hours(WALL_SHARE * self.budget_s),
                    "A last resort if the machine is slower than it was measured: the number of "
                    "trials keeps the time.",
                ),
                "finish": {
                    "detectors": Value(
                        plan.finished,
                        f"The best score, the knee of the front and one more, at most "
                        f"{MOST_FINISHED}; fewer in short budgets, so that each is trained "
                        "longer than in a trial.",
                    ),
                    "epochs": Value(
                        plan.finish_epochs,
                        f"About {duration(plan.finish_s)} each, {FINISH_SHARE:.0%} of the budget "
                        f"together; the trials have {TRIALS_SHARE:.0%}. Up to {FINISH_PER_TRIAL} "
                        "times as long as a trial, which ranks detectors and does not finish them.",
                    ),
                },
            },
            "resources": {
                "cpus_per_trial": Value(self.machine.cpus_per_trial),
                "gpus_per_trial": Value(min(1, self.machine.gpus)),
                "trials_in_flight": Value(
                    self.machine.trials_in_flight, "One per GPU, or two on CPUs."
                ),
            },
            "seed": Value(self.seed),
        }

    @property
    def _steps(self) -> int:
        return -(-self.data.train_images // self.plan.batch)

    def _base(self) -> Document:
        plan, size = self.plan, self.plan.size
        section: dict[str, Any] = {}
        if size is not None:
            section["backbone"] = Value(
                size.backbone, "The largest that can see the data often enough in the budget."
            )
            section["base_channels"] = Value(
                size.base_channels, "Width of the backbone; 64 is the published one."
            )
        section |= {name: Value(value) for name, value in self.start.section.items()}
        if size is not None and self.start.pretrained:
            section["pretrained"] = Value(
                dict(self.start.pretrained[size.backbone]), "Trained on ImageNet."
            )
        if self.start.licence is not None:
            section["licence"] = Value(self.start.licence, "Of these weights; exports name it.")
        if self.start.is_trained:
            kind = "loaded" if self.start.section or self.start.pretrained else "new"
            section["training"] = {
                "epochs": Value(
                    plan.base_epochs,
                    f"About {duration(plan.base_s)} on this machine; preparation takes at most "
                    "40 % of the budget.",
                ),
                **self._training(plan.base_epochs * self._steps, with_rate=self._rate(kind)),
            }
        return section

    def _head(self, family: Family) -> Document:
        student = self.plan.student
        if family is not student.family:
            return {"family": Value(str(family), "A pool's teachers are Faster R-CNNs.")}
        section: dict[str, Any] = {"family": Value(str(family))}
        section["neck_channels"] = Value(student.neck_channels)
        if not family.two_stage:
            return section | {
                "tower_channels": Value(student.tower_channels),
                "tower_convs": Value(student.num_tower_convs),
                "anchor_scale": Value(student.anchor_scale),
            }
        return section | {
            "head_channels": Value(student.head_channels),
            "anchor_scale": Value(
                student.anchor_scale,
                f"The smallest anchor has {4 * (student.anchor_scale or 8):g} pixels; nine of ten "
                f"boxes have a short side of more than {self._small_px:.0f}.",
            ),
            "finest_roi_scale": Value(
                student.finest_roi_scale, "56 at the anchor scale 8, in proportion."
            ),
            "num_proposals": Value(student.num_proposals),
            "sampled_rois": self._sampled_rois(student),
        }

    def _search_head(self) -> Document:
        if self.plan.size is not None:
            return self._head(self.plan.student.family)
        student = self.plan.student
        return {
            "family": Value(str(student.family), "All else of the head follows the checkpoint."),
            "sampled_rois": self._sampled_rois(student),
        }

    def _sampled_rois(self, student: Detector) -> Value:
        return Value(
            student.sampled_rois,
            f"Up to 8 per object of the fullest image, which has {self.data.most_objects}.",
        )

    @property
    def _small_px(self) -> float:
        return self.data.small_box_share * self.plan.resolution.height

    def _training(
        self, steps: int, *, with_rate: float | None, warmup: bool = True
    ) -> dict[str, Any]:
        section: dict[str, Any] = {
            "batch_size": Value(
                self.plan.batch, "At least 40 steps per epoch, if there are enough images."
            )
        }
        if with_rate is not None:
            section["learning_rate"] = Value(
                with_rate, "In proportion to the batch; 0.02 for 16 images in mmdet's configs."
            )
        section["schedule"] = Value("cosine")
        section["max_grad_norm"] = Value(MAX_GRAD_NORM)
        if warmup:
            section["warmup_iterations"] = Value(
                min(WARMUP_STEPS, int(WARMUP_SHARE * steps)),
                "mmdet's 500, but at most a tenth of the training.",
            )
        section["resolutions"] = self._resolutions(
            f"At the larger one, nine of ten boxes have a short side of more than "
            f"{self._small_px:.0f} pixels. Each step draws one; AP is measured at each."
        )
        return section

    def _resolutions(self, why: str) -> Value:
        return Value([str(each) for each in self.plan.trained_resolutions], why)

    def _rate(self, kind: str) -> float:
        return float(f"{RATES_PER_IMAGE[kind] * self.plan.batch:.2g}")

    def _phase(
        self, name: str, depths: tuple[int, ...], width: float, rate: float, epochs: int
    ) -> dict[str, Any]:
        return {
            "name": name,
            "min_depths": list(depths),
            "min_width": width,
            "learning_rate": float(f"{rate:.2g}"),
            "epochs": epochs,
            "distil": name != "supernet",
        }

    def _why_trial_epochs(self) -> str:
        if self.plan.trial_epochs == PAPER_EPOCHS_PER_TRIAL:
            return "The paper's."
        if self.plan.trial_epochs < PAPER_EPOCHS_PER_TRIAL:
            return (
                f"{self.plan.trial_epochs * self._steps} steps; the paper's 3 epochs would leave "
                "time for few trials."
            )
        return (
            f"{self.plan.trial_epochs * self._steps} steps; the paper's 3 epochs are few on a "
            f"small data set. At most {MOST_EPOCHS_PER_TRIAL}."
        )


def _hours(seconds: float) -> float:
    return float(f"{seconds / 3600:.3g}")
