"""What a search learns about its teachers, and says about them, before and during its trials."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from api.views import resources as views
from searchd.domain.lifecycle import PoolStatus, SearchStatus
from searchd.domain.teacher import RegisteredTeacher, TeacherAp
from searchd.domain.trial import BASE_NAME
from searchd.driver.ledger import Ledger
from searchd.driver.trial_loop import _PoolGate
from searchd.messages.reports import EvaluatedSubnet, SanityChecks
from searchd.search.ask_tell import decide
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.settings import Settings
from searchd.spec import BaseSpec, SearchSpec, TeachersSpec, TrainingSpec
from searchd.store import Database
from searchd.store.models import EventRow, SearchRow
from searchd.store.resources import pools, searches
from searchd.store.runs import teacher_aps
from searchd.store.work import queue
from tests.searchd.store import factories

SPACE = factories.pool_spec().space.space
LARGE = factories.LARGE


class Search:
    """A search whose base is trained, with a pool and two registered teachers."""

    def __init__(
        self, database: Database, settings: Settings, largest_ap: float, base_ap: float
    ) -> None:
        factories.add_dataset(database)
        self.pool = add_pool(database, largest_ap)
        self.strong = RegisteredTeacher(teacher=factories.add_teacher(database))
        spec = factories.search_spec(
            teachers=TeachersSpec(registered=("strong",)),
            trial=TrainingSpec(resolutions=(factories.SMALL, LARGE)),
        )
        with database.write() as session:
            row = searches.create(session, spec)
        with factories.leased(database, f"search-{row.id}") as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        self.id, self.database, self.lease = row.id, database, lease
        self.ledger = Ledger(database, lease, settings)
        base = factories.succeeded(BASE_NAME, ap=base_ap)
        factories.run_trial(database, lease, factories.base_proposal(), base)

    def open_gate(self) -> str:
        """The reason of its status once its teachers are ready."""
        assert _PoolGate(self.ledger).is_open()
        return self.ledger.row().status_reason

    @property
    def row(self) -> SearchRow:
        with self.database.read() as session:
            return session.get_one(SearchRow, self.id)

    @property
    def spec(self) -> SearchSpec:
        spec = self.row.spec
        assert isinstance(spec, SearchSpec)
        return spec

    @property
    def warning(self) -> str | None:
        """The warning of its view."""
        with self.database.read() as session:
            return views.search(session, session.get_one(SearchRow, self.id)).teachers_warning

    def events(self) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(EventRow.message).order_by(EventRow.id)))


def add_pool(database: Database, largest_ap: float) -> str:
    """A pool whose largest subnet has this AP at the largest resolution."""
    with database.write() as session:
        row = pools.create(session, factories.pool_spec())
    largest = EvaluatedSubnet(
        subnet=SPACE.largest,
        params=9,
        evaluations=(
            factories.evaluation(factories.SMALL, ap=0.99),
            factories.evaluation(LARGE, ap=largest_ap),
        ),
    )
    report = replace(factories.pool_report(row.id), subnets=(largest,))
    with factories.leased(database, f"pool-{row.id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, report)
    return row.id


def taught(search: Search, number: int, parent: str, ap: float, teacher_ap: float) -> None:
    """Run a trial under the largest subnet that measures the AP of its teacher."""
    proposal = replace(factories.search_proposal(number, parent), teacher=SPACE.largest)
    checks = SanityChecks(resolution=LARGE, teacher_ap=teacher_ap)
    report = replace(factories.succeeded(proposal.name, ap=ap), checks=checks)
    factories.run_trial(search.database, search.lease, proposal, report)


@pytest.fixture
def weak(sqlite: Database, settings: Settings) -> Search:
    """Its teachers have APs of 40 % and 50 %, its base 55 %."""
    return Search(sqlite, settings, largest_ap=0.4, base_ap=0.55)


@pytest.fixture
def strong(sqlite: Database, settings: Settings) -> Search:
    """Its teachers have APs of 60 % and 50 %, its base 55 %."""
    return Search(sqlite, settings, largest_ap=0.6, base_ap=0.55)


def test_aps_at_the_largest_resolution_are_recorded_before_trial_0(weak: Search) -> None:
    assert weak.row.teacher_aps is None
    weak.open_gate()
    assert weak.row.teacher_aps == (
        TeacherAp(teacher=SPACE.largest, ap=0.4),
        TeacherAp(teacher=weak.strong, ap=0.5),
    )


def test_the_strategy_sees_what_was_recorded(weak: Search) -> None:
    before = weak.ledger.strategy()
    assert isinstance(before, JointDetNas)
    assert before.measured is None
    weak.open_gate()
    after = weak.ledger.strategy()
    assert isinstance(after, JointDetNas)
    assert after.measured == weak.row.teacher_aps


def test_a_search_that_has_trials_already_draws_as_it_did(weak: Search) -> None:
    taught(weak, 0, BASE_NAME, ap=0.5, teacher_ap=0.4)
    weak.open_gate()
    assert weak.row.teacher_aps is None
    assert weak.warning is None


def test_what_was_recorded_does_not_change(weak: Search) -> None:
    weak.open_gate()
    with weak.database.write() as session:
        for row in pools.subnet_evaluations(session, weak.pool):
            row.ap = 0.9
        teacher_aps.record(session, weak.lease)
    assert weak.row.teacher_aps is not None
    assert weak.row.teacher_aps[0].ap == 0.4


def test_a_search_warns_before_trial_0_if_its_teachers_are_weak(weak: Search) -> None:
    reason = weak.open_gate()
    assert reason.startswith(
        "base detector and pool are ready; warning: none of the 2 measured teachers exceeds the "
        "base by 2 points of AP"
    )
    assert "searchd pool extend teachers" in reason
    assert any("none of the 2 measured teachers" in message for message in weak.events())
    assert weak.warning is not None
    assert weak.warning in reason


def test_a_search_does_not_warn_of_a_good_teacher(strong: Search) -> None:
    assert strong.open_gate() == "base detector and pool are ready"
    assert strong.warning is None


def test_a_trial_whose_student_has_no_better_teacher_says_so(weak: Search) -> None:
    weak.open_gate()
    proposal = decide(weak.ledger.strategy(), weak.ledger.history)
    weak.ledger.propose(proposal)  # type: ignore[arg-type]
    assert proposal.teacher is None  # type: ignore[union-attr]
    assert (
        "trial 0: none of the 2 measured teachers is above the student's AP of 55.0%; it trains "
        "without a teacher"
    ) in weak.events()


def test_a_trial_with_a_better_teacher_says_nothing(strong: Search) -> None:
    strong.open_gate()
    proposal = decide(strong.ledger.strategy(), strong.ledger.history)
    strong.ledger.propose(proposal)  # type: ignore[arg-type]
    assert not any(message.startswith("trial 0: none") for message in strong.events())


def test_the_ap_that_a_trial_measures_reaches_the_strategy(strong: Search) -> None:
    strong.open_gate()
    taught(strong, 0, BASE_NAME, ap=0.58, teacher_ap=0.57)
    completions = strong.ledger.history.completions
    assert [each.teacher_ap for each in completions] == [None, 0.57]


def test_a_forecast_warns_once_an_earlier_search_has_trained_the_base(weak: Search) -> None:
    same = weak.spec.model_copy(update={"name": "second"})
    other = same.model_copy(update={"base": BaseSpec(backbone="resnet50")})
    with weak.database.read() as session:
        found = teacher_aps.forecast_warning(session, same)
        assert found is not None
        assert "best teacher 50.0%, base 55.0%" in found
        assert teacher_aps.forecast_warning(session, other) is None


def test_a_forecast_does_not_warn_of_a_good_teacher(strong: Search) -> None:
    with strong.database.read() as session:
        assert teacher_aps.forecast_warning(session, strong.spec) is None
