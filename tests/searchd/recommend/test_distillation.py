"""A recommended distillation is valid, takes the base of the search, and says why."""

import yaml

from searchd.recommend.distillation import distillation_yaml
from searchd.spec import DistillationSpec
from tests.searchd.recommend.test_recommend import recommended


def test_a_distillation_has_the_base_of_the_search_and_reasons() -> None:
    made = recommended()
    text = distillation_yaml(made.documents["search"], "steps", "teachers", stage_epochs=9)

    spec = DistillationSpec.model_validate(yaml.safe_load(text))
    assert (spec.name, spec.dataset, spec.pool) == ("steps", "cells", "teachers")
    assert spec.student.base == made.search.base
    assert spec.trial.epochs == 9
    assert (spec.trial.batch_size, spec.trial.bn_l1) == (made.search.trial.batch_size, 0.0)
    assert "# As long as a search would finish its best detectors." in text
    assert text.count("#") > 15
