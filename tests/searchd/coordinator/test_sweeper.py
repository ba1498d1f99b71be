"""Stored files that nothing needs are removed, and no other, also when the sweep is killed."""

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from searchd import artifacts
from searchd.coordinator import sweeper as sweeping
from searchd.coordinator.sweeper import INTERVAL_S, Sweeper, unneeded_training_files
from searchd.domain.errors import CollectedError, ConflictError
from searchd.domain.lifecycle import SearchStatus, TeacherStatus
from searchd.domain.trial import Artifact, Proposal
from searchd.messages.reports import Report
from searchd.search.ask_tell import AskTell, Completion
from searchd.search.pareto import pareto_front
from searchd.search.strategies.joint_detnas import JointDetNas, JointDetNasSettings
from searchd.settings import Settings
from searchd.spec import JointDetNasSpec
from searchd.store import Database, Lease, events
from searchd.store.base import Base
from searchd.store.models import TrialRow
from searchd.store.resources import searches
from searchd.store.runs import reports, retention, trials
from searchd.store.work import queue, requests
from tests.searchd.conftest import FakeClock
from tests.searchd.search.scripted import SPACE
from tests.searchd.store import factories
from tests.strength import examples

pytestmark = pytest.mark.timeout(60)  # whole lives of searches

HOUR_S = 3600.0


class Site:
    """A search whose trials leave real files, and the sweeper.

    Attributes:
        search_id: Of the search; one hill climb, with a top-k of 1.
    """

    def __init__(self, database: Database, folder: Path, clock: FakeClock) -> None:
        self.database, self.clock = database, clock
        self.settings = Settings(data_folder=folder, keep_s=HOUR_S)
        self.sweeper = Sweeper(database, self.settings, clock=clock)
        factories.add_search(database, "other")  # and with it, data set and pool
        spec = factories.search_spec(strategy=JointDetNasSpec(top_k=1))
        with database.write() as session:
            self.search_id = searches.create(session, spec).id
        self.lease = self.take_up()

    def take_up(self) -> Lease:
        with factories.leased(self.database, f"search-{self.search_id}") as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
            queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
        return lease

    def write(self, path: str, content: bytes = b"content") -> Path:
        """A file in the search's folder."""
        artifacts.write(self.uri(path), content, name="any")
        return Path(self.uri(path))

    def uri(self, path: str) -> str:
        return artifacts.join(self.settings.artifact_root, "searches", self.search_id, path)

    def files(self) -> list[str]:
        folder = Path(self.uri(""))
        return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())

    def run(self, proposal: Proposal, ap: float, macs: float = 2e9) -> TrialRow:
        """A trial that succeeds, with its files."""
        report = self.report(proposal.name, ap, macs)
        return factories.run_trial(self.database, self.lease, proposal, report)

    def report(self, name: str, ap: float, macs: float, attempt: int = 1) -> Report:
        folder = f"{name}/attempt-{attempt}"
        stored = [self._artifact(folder, each) for each in ("student", "adapters", "detector")]
        self.write(f"{folder}/report.json")
        report = factories.succeeded(name, ap=ap, macs=macs, attempt=attempt)
        return replace(report, artifacts=tuple(stored))

    def _artifact(self, folder: str, name: str) -> Artifact:
        content = f"{folder} {name}".encode()
        return artifacts.write(self.uri(f"{folder}/{name}"), content, name=name)

    def row(self, name: str) -> TrialRow:
        with self.database.read() as session:
            return trials.get(session, f"{self.search_id}-{name}")

    def collected(self) -> list[str]:
        """Names of trials whose students are recorded as removed."""
        with self.database.read() as session:
            rows = [trials.get(session, r.id) for r in trials.of_search(session, self.search_id)]
        return [row.name for row in rows if any(a.deleted_at for a in row.artifacts)]

    def messages(self) -> list[str]:
        with self.database.read() as session:
            found = events.after(session, self.search_id)
        return [event.message for event in found if "removed" in event.message]

    def end(self) -> None:
        with self.database.write() as session:
            queue.finish(session, self.lease, SearchStatus.SUCCEEDED, "budget")


@pytest.fixture
def site(sqlite: Database, tmp_path: Path, clock: FakeClock) -> Site:
    return Site(sqlite, tmp_path, clock)


def with_one_to_collect(site: Site) -> None:
    """Base, trial 0 that nothing needs, and trials 1 and 2 that dominate it."""
    site.run(factories.base_proposal(), ap=0.5, macs=1e9)
    site.run(factories.search_proposal(0), ap=0.1)
    site.run(factories.search_proposal(1), ap=0.6)
    site.run(factories.search_proposal(2, parent="1"), ap=0.7)


def test_weights_that_nothing_needs_go_after_their_time(site: Site) -> None:
    with_one_to_collect(site)
    assert site.sweeper.sweep_all() == []
    site.clock.pass_s(HOUR_S + 60)

    swept = site.sweeper.sweep_all()

    size_bytes = len("0/attempt-1 student0/attempt-1 adapters")
    assert swept == [
        sweeping.SweepResult(resource_id=site.search_id, num_files=2, size_bytes=size_bytes)
    ]
    assert site.files() == [
        *("0/attempt-1/detector", "0/attempt-1/report.json"),
        *(
            f"{name}/attempt-1/{file}"
            for name in ("1", "2", "base")
            for file in ("adapters", "detector", "report.json", "student")
        ),
    ]
    assert site.collected() == ["0"]
    assert site.messages() == [
        f"2 files with {size_bytes} bytes of 0 are removed because nothing needs them"
    ]
    with (
        site.database.read() as session,
        pytest.raises(CollectedError, match="student of .*-0 was"),
    ):
        trials.inherited(session, f"{site.search_id}-0")
    assert site.sweeper.sweep_all() == []


def test_what_interrupted_attempts_left_goes_when_the_trial_has_ended(site: Site) -> None:
    site.run(factories.base_proposal(), ap=0.5)
    running = factories.search_proposal(0)
    with site.database.write() as session:
        trials.add(session, site.lease, running)
        trials.start(session, site.lease, "0")
    left = [
        site.write("base/attempt-2/resume.pt"),
        site.write("base/attempt-2/student"),
        site.write("base/attempt-1/student.0a1b.partial"),
    ]
    used = [site.write("0/attempt-1/resume.pt"), site.write("0/attempt-1/student.0a.partial")]
    unknown = site.write("7/attempt-1/student")
    others = [site.write("stop.json"), site.write("base/attempt-2/report.json")]
    site.clock.pass_s(HOUR_S + 60)

    site.sweeper.sweep_all()

    assert [path.exists() for path in left] == [False] * 3
    assert [path.exists() for path in [*used, *others, unknown]] == [True] * 5
    site.end()
    site.clock.pass_s(HOUR_S + 60)
    site.sweeper.sweep_all()
    assert [path.exists() for path in [*used, unknown]] == [False] * 3
    assert all(path.exists() for path in others)


def test_folders_of_attempts_that_hold_nothing_go_too(site: Site) -> None:
    site.run(factories.base_proposal(), ap=0.5)
    resume = site.write("base/attempt-2/resume.pt")
    site.clock.pass_s(HOUR_S + 60)
    site.sweeper.sweep_all()
    assert not resume.parent.exists()
    assert resume.parent.parent.exists()


def test_what_tune_left_of_a_killed_driver_continuesce_the_search_has_ended(site: Site) -> None:
    folder = site.settings.data_folder / "tune" / site.search_id
    folder.mkdir(parents=True)
    site.clock.pass_s(HOUR_S + 60)
    site.sweeper.sweep_all()
    assert folder.exists()
    site.end()
    site.clock.pass_s(HOUR_S + 60)
    site.sweeper.sweep_all()
    assert not folder.exists()


def test_nothing_of_a_run_that_ended_goes_before_its_time(site: Site) -> None:
    with_one_to_collect(site)
    site.clock.pass_s(HOUR_S + 60)
    ended_at = site.clock()
    site.end()
    with site.database.write() as session:
        searches.get(session, site.search_id).finished_at = ended_at
    assert site.sweeper.sweep_all() == []
    site.clock.pass_s(HOUR_S + 60)
    assert len(site.sweeper.sweep_all()) == 1


def test_pinned_weights_stay_until_they_are_not_pinned(site: Site) -> None:
    with_one_to_collect(site)
    with site.database.write() as session:
        retention.pin(session, f"{site.search_id}-0", pinned=True)
    site.clock.pass_s(HOUR_S + 60)
    assert site.sweeper.sweep_all() == []
    with site.database.write() as session:
        retention.pin(session, f"{site.search_id}-0", pinned=False)
    assert len(site.sweeper.sweep_all()) == 1


def test_links_are_not_followed(site: Site, tmp_path: Path) -> None:
    site.run(factories.base_proposal(), ap=0.5)
    outside = tmp_path / "outside" / "attempt-1"
    outside.mkdir(parents=True)
    (outside / "student").write_text("somebody's")
    attempt = Path(site.uri("base/attempt-1"))
    (attempt / "linked").symlink_to(outside)
    (attempt / "file").symlink_to(outside / "student")
    Path(site.uri("base")).with_name("7").symlink_to(outside.parent)
    site.end()
    site.clock.pass_s(HOUR_S + 60)

    site.sweeper.sweep_all()

    assert (outside / "student").read_text() == "somebody's"
    assert not (attempt / "file").is_symlink()


def test_what_has_ended_and_holds_nothing_more_is_not_listed_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_one_to_collect(site)
    site.end()
    site.clock.pass_s(HOUR_S + 60)
    site.sweeper.sweep_all()
    site.sweeper.sweep_all()
    listed: list[str] = []

    def note(folder: str) -> dict[str, int]:
        listed.append(folder)
        return {}

    monkeypatch.setattr(sweeping, "_list", note)
    site.sweeper.sweep_all()
    assert site.search_id not in "".join(listed)
    with site.database.write() as session:
        retention.pin(session, f"{site.search_id}-1", pinned=True)
    site.sweeper.sweep_all()
    assert site.search_id in "".join(listed)


def test_each_round_sweeps_one_run_and_everything_is_looked_at_once_a_minute(site: Site) -> None:
    passed = [0.0]
    sweeper = Sweeper(site.database, site.settings, clock=site.clock, monotonic=lambda: passed[0])
    with_one_to_collect(site)
    site.clock.pass_s(HOUR_S + 60)
    found = [sweeper.step() for _ in range(5)]  # two searches, a pool, and nothing more
    assert [each is not None for each in found].count(True) == 1
    site.write("base/attempt-1/late.partial")
    assert [sweeper.step() for _ in range(5)] == [None] * 5
    passed[0] += INTERVAL_S
    assert sum(sweeper.step() is not None for _ in range(5)) == 1


def test_a_store_that_refuses_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with_one_to_collect(site)
    site.clock.pass_s(HOUR_S + 60)

    def refuse(_uri: str) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "delete", refuse)
        assert [site.sweeper.sweep_all() for _ in range(3)] == [[], [], []]
    assert len(site.messages()) == 1
    assert len(site.sweeper.sweep_all()) == 1
    assert "0/attempt-1/student" not in site.files()


def test_everything_is_kept_when_the_operator_wants_that(site: Site) -> None:
    with_one_to_collect(site)
    site.clock.pass_s(HOUR_S + 60)
    keeps_all = site.settings.model_copy(update={"keep_all": True})
    assert Sweeper(site.database, keeps_all, clock=site.clock).sweep_all() == []
    assert "0/attempt-1/student" in site.files()


def test_the_checkpoints_of_a_cancelled_teacher_are_removed_and_its_weights_stay(
    site: Site,
) -> None:
    teacher_id = factories.add_teacher(site.database, ready=False)
    with factories.leased(site.database, f"teacher_training-{teacher_id}") as (session, lease):
        queue.advance(session, lease, TeacherStatus.TRAINING, "started")
        requests.ask_to_cancel(session, teacher_id)
        queue.stopped(session, lease)
    root = site.settings.artifact_root
    for file in ("resume.pt", "epoch.pt", "teacher.safetensors"):
        uri = artifacts.join(root, "teachers", teacher_id, "attempt-1", file)
        artifacts.write(uri, b"content", name="any")
    site.clock.pass_s(HOUR_S + 60)

    (swept,) = [each for each in site.sweeper.sweep_all() if each.resource_id == teacher_id]

    assert (swept.num_files, swept.size_bytes) == (2, 14)
    folder = Path(root, "teachers", teacher_id, "attempt-1")
    assert [file.name for file in folder.iterdir()] == ["teacher.safetensors"]


def test_the_training_checkpoints_of_what_has_ended_are_not_needed() -> None:
    left = ["attempt-1/resume.pt", "attempt-1/epoch.pt", "attempt-2/weights.0a1b.partial"]
    stays = ["attempt-2/weights.safetensors", "attempt-2/teachers/ab-64x64.json", "report.json"]
    assert unneeded_training_files([*left, *stays]) == left


class Killed(BaseException):
    """SIGKILL in mid-sweep."""


class Life(Site):
    """A search that a driver runs by its strategy while things happen to it."""

    def __init__(self, database: Database, folder: Path, clock: FakeClock, seed: int) -> None:
        super().__init__(database, folder, clock)
        self.rng = random.Random(seed)
        self.strategy = AskTell(
            JointDetNas(
                space=SPACE, max_trials=9, settings=JointDetNasSettings(top_k=1, min_channels=4)
            )
        )
        self.running: list[Proposal] = []
        self.lost: set[str] = set()

    def do(self, step: str) -> None:
        getattr(self, f"_{step}")()
        self.check()

    def check(self) -> None:
        """Whatever may be requested exists."""
        with self.database.read() as session:
            scored = trials.scored(session, self.search_id)
            points = [(row.id, point) for row in scored for point in row.evaluations]
            found = pareto_front(points, cost=lambda p: p[1].macs, value=lambda p: p[1].ap)
            front = {trial for trial, _ in found}
            best = searches.best_trial(session, self.search_id)
            # A file that was lost may be pinned afterwards; that does not restore it.
            lost = {
                row.id for row in scored if self.uri(f"{row.name}/attempt-1/student") in self.lost
            }
            pinned = {row.id for row in scored if row.pinned} - lost
            needed = {*front, *pinned, *([best[0].id] if best else [])}
            for proposal in self.running:
                if proposal.parent is not None:
                    needed.add(f"{self.search_id}-{proposal.parent}")
            for trial in needed:
                artifacts.read(trials.inherited(session, trial).student)
            for row in (trials.get(session, each.id) for each in scored):
                for file in row.artifacts:
                    assert file.deleted_at or file.uri in self.lost or Path(file.uri).exists()

    def _propose(self) -> None:
        decision = self.strategy.ask()
        if isinstance(decision, Proposal):
            with self.database.write() as session:
                trials.add(session, self.lease, decision)
                trials.start(session, self.lease, decision.name)
            self.running.append(decision)

    def _report(self) -> None:
        if self.running:
            proposal = self.running.pop(self.rng.randrange(len(self.running)))
            ap = self.rng.choice([0.2, 0.3, 0.4, 0.5])
            report = self.report(proposal.name, ap, self.rng.choice([1e9, 2e9, 3e9]))
            with self.database.write() as session:
                row = reports.record(session, self.lease, report, factories.scores_of(report))
            self.strategy.tell(_completion(row))

    def _sweep(self) -> None:
        self.sweeper.sweep_all()

    def _killed_sweep(self) -> None:
        """Killed before, between or after removals; then a new coordinator's sweeper."""
        left = [self.rng.randrange(3)]

        def delete(uri: str) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            Path(uri).unlink(missing_ok=True)

        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            patch.setattr(artifacts, "delete", delete)
            self.sweeper.sweep_all()
        self.sweeper = Sweeper(self.database, self.settings, clock=self.clock)

    def _wait(self) -> None:
        self.clock.pass_s(HOUR_S)

    def _pin(self) -> None:
        with suppress(ConflictError), self.database.write() as session:
            row = self.rng.choice([*trials.of_search(session, self.search_id), None])
            if row is not None:
                retention.pin(session, row.id, pinned=self.rng.random() < 0.7)

    def _lose(self) -> None:
        """A student that nothing needs is removed by someone else."""
        with self.database.write() as session:
            found = retention.collect(session, self.search_id, keep_s=0, now=self.clock())
            session.rollback()
        for name in found.collected[:1]:
            file = Path(self.uri(f"{name}/attempt-1/student"))
            file.unlink(missing_ok=True)
            self.lost.add(str(file))


def _completion(row: TrialRow) -> Completion:
    assert row.completion is not None
    assert row.outcome is not None
    assert row.detector is not None
    return Completion(
        sequence=row.completion,
        proposal=row.proposal,
        outcome=row.outcome,
        architecture=row.detector.architecture,
        score=row.score,
    )


STEPS = ["propose", "report", "propose", "report", "sweep", "killed_sweep", "wait", "pin", "lose"]


@hypothesis_settings(
    max_examples=examples(4, 40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=25, max_size=40), seed=st.integers(0, 999))
def test_nothing_that_is_needed_is_ever_removed(
    sqlite: Database, tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int
) -> None:
    with sqlite.connect() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    life = Life(sqlite, tmp_path_factory.mktemp("life"), FakeClock(), seed)
    for step in ["propose", "report", *steps]:
        life.do(step)
    life.clock.pass_s(2 * HOUR_S)
    life.sweeper.sweep_all()
    life.check()
    for name in life.collected():
        assert not Path(life.uri(f"{name}/attempt-1/student")).exists()
