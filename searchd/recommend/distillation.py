"""A recommended distillation: the base of a recommended search, taught by a pool step by step."""

from collections.abc import Mapping
from typing import Any

from searchd.recommend.document import Document, Value, plain, to_yaml
from searchd.spec import DistillationSpec

MAX_TEACHERS, SAMPLED_TEACHERS = 2, 3
_LEFT_OUT = ("bn_l1",)
"""Settings of a search's trials that serve pruning."""


def distillation_yaml(search: Mapping[str, Any], name: str, pool: str, stage_epochs: int) -> str:
    """Return a distillation spec as YAML, with a reason for each number.

    Args:
        search: Document of the recommended search.
        name: Name of the distillation.
        pool: Name of the pool with the teachers.
        stage_epochs: Number of epochs under each teacher.

    Raises:
        pydantic.ValidationError: The names are not valid.
    """
    document = _document(search, name, pool, stage_epochs)
    DistillationSpec.model_validate(plain(document))
    title = (
        f"The distillation {name}: its student is the base that a search of this budget would have."
    )
    return to_yaml(document, f"{title} Change any number; fields that are not here have defaults.")


def _document(search: Mapping[str, Any], name: str, pool: str, stage_epochs: int) -> Document:
    trial = {each: value for each, value in search["trial"].items() if each not in _LEFT_OUT}
    return {
        "name": Value(name),
        "dataset": search["dataset"],
        "pool": Value(pool, "Its subnets are the teachers."),
        "student": {"base": search["base"], "head": search["head"]},
        "num_sampled_teachers": Value(
            SAMPLED_TEACHERS, "The largest and the smallest subnet, and one at random."
        ),
        "order": Value("backward_greedy", "Algorithm 1 of MTPD, by measured adaptation costs."),
        "max_teachers": Value(MAX_TEACHERS, "Each further teacher is another stage."),
        "baselines": Value(
            ["direct", "no_teacher"], "As long, under the last teacher alone, and without one."
        ),
        "trial": trial
        | {"epochs": Value(stage_epochs, "As long as a search would finish its best detectors.")},
        "distillation": {
            "methods": Value([{"name": "feature_matching"}], "Fits teachers of any width.")
        },
        "score": search["score"],
        "resources": search["resources"],
        "seed": search["seed"],
    }
