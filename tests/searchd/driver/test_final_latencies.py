"""Which detectors are timed side by side after a search."""

from dataclasses import replace

from searchd.domain.accuracy import ApKind
from searchd.domain.resolution import Resolution
from searchd.driver.final_latencies import best_name, detectors_to_time
from searchd.driver.ledger import Ledger
from searchd.messages.reports import Report
from searchd.settings import Settings
from searchd.spec import BudgetSpec, ScoreSpec
from searchd.store import Database, Lease
from searchd.store.runs import trials
from tests.searchd.driver.bookkeeping import submitted
from tests.searchd.store import factories

SMALL, LARGE = Resolution(64, 64), Resolution(96, 96)


def report(name: str, small: float, large: float, macs: float) -> Report:
    """A success with these APs; half the macs at the small resolution."""
    evaluations = (
        factories.evaluation(SMALL, small, macs / 2),
        factories.evaluation(LARGE, large, macs),
    )
    return replace(factories.succeeded(name), evaluations=evaluations, base_macs=macs)


def record(ledger: Ledger, name: str, small: float, large: float, macs: float) -> None:
    proposal = {
        "base": factories.base_proposal(),
        "control-1": factories.control_proposal(1),
        "control-2": factories.control_proposal(2),
        "macs-control-1": factories.macs_control_proposal(1),
        "finish-1": factories.finish_proposal(1, "0"),
        "finish-2": factories.finish_proposal(2, "1"),
    }.get(name) or factories.search_proposal(int(name))
    ledger.propose(proposal)
    ledger.start(ledger.task(proposal))
    ledger.record(report(name, small, large, macs))


def test_the_front_and_what_users_compare_it_with_are_timed_once_each(ledger: Ledger) -> None:
    record(ledger, "base", small=0.30, large=0.50, macs=10e9)
    record(ledger, "0", small=0.35, large=0.60, macs=10e9)  # both on the front
    record(ledger, "1", small=0.10, large=0.20, macs=9e9)  # 4.5e9 is the cheapest point
    record(ledger, "control-1", small=0.05, large=0.05, macs=10e9)
    record(ledger, "control-2", small=0.10, large=0.55, macs=10e9)
    record(ledger, "macs-control-1", small=0.15, large=0.12, macs=12e9)

    chosen = detectors_to_time(ledger.scored(), "0")

    assert {(row.name, str(evaluation.resolution)) for row, evaluation in chosen} == {
        ("0", "64x64"),
        ("0", "96x96"),
        ("1", "64x64"),
        ("base", "96x96"),  # its best
        ("base", "64x64"),  # the best of macs-control-1
        ("control-2", "96x96"),  # the last control's best
        ("control-2", "64x64"),
        ("macs-control-1", "64x64"),  # its best
        ("macs-control-1", "96x96"),  # at the resolution of the best search trial
    }
    assert len(chosen) == 9


def test_every_finished_detector_is_timed_also_at_the_resolution_of_the_best(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    ledger = submitted(sqlite, lease, settings, factories.search_spec(budget=BudgetSpec()))
    record(ledger, "base", small=0.30, large=0.50, macs=10e9)
    record(ledger, "0", small=0.35, large=0.60, macs=10e9)
    record(ledger, "1", small=0.10, large=0.20, macs=9e9)
    record(ledger, "finish-1", small=0.40, large=0.70, macs=10e9)
    record(ledger, "finish-2", small=0.39, large=0.20, macs=12e9)  # dominated

    assert best_name(ledger) == "finish-1"
    chosen = detectors_to_time(ledger.scored(), "finish-1")

    assert {(row.name, str(evaluation.resolution)) for row, evaluation in chosen} == {
        ("finish-1", "64x64"),
        ("finish-1", "96x96"),
        ("1", "64x64"),  # the cheapest point
        ("base", "96x96"),
        ("base", "64x64"),
        ("finish-2", "64x64"),  # its best
        ("finish-2", "96x96"),  # at the resolution of the best
    }


def test_mask_ap_decides_what_is_on_the_front_of_a_run_that_ranks_by_it(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    score = ScoreSpec(base_resolution=LARGE, accuracy="mask_ap")
    ledger = submitted(sqlite, lease, settings, factories.search_spec(score=score))
    for name, box_ap, mask_ap in (("base", 0.5, 0.3), ("0", 0.4, 0.6), ("1", 0.9, 0.2)):
        proposal = factories.search_proposal(int(name)) if name != "base" else None
        proposal = proposal or factories.base_proposal()
        measured = factories.evaluation(LARGE, box_ap, 10e9)
        found = replace(measured, mask_ap=mask_ap)
        ledger.propose(proposal)
        ledger.start(ledger.task(proposal))
        ledger.record(replace(factories.succeeded(name), evaluations=(found,), base_macs=10e9))

    assert [row.score for row in ledger.scored()] == [0.3, 0.6, 0.2]
    assert best_name(ledger) == "0"
    assert [p.point.accuracy for p in ledger.history.accepted.front.points] == [0.6]
    chosen = detectors_to_time(ledger.scored(), "0", ApKind.MASK_AP)
    assert {row.name for row, _ in chosen} == {"base", "0"}


def test_detectors_whose_weights_were_collected_cannot_be_timed(ledger: Ledger) -> None:
    record(ledger, "base", small=0.30, large=0.50, macs=10e9)
    record(ledger, "0", small=0.35, large=0.60, macs=10e9)
    base, trial = ledger.scored()
    for file in trial.artifacts:
        file.deleted_at = factories.NOW

    assert {row.name for row, _ in detectors_to_time([base, trial], "0")} == {"base"}


def test_nothing_is_timed_when_nothing_was_scored(ledger: Ledger) -> None:
    assert detectors_to_time(ledger.scored(), None) == []


def test_times_taken_side_by_side_replace_those_of_the_trials(ledger: Ledger) -> None:
    record(ledger, "base", small=0.3, large=0.5, macs=10e9)
    small, large = ledger.scored()[0].evaluations

    ledger.write(trials.record_latencies, {large.id: (0.004, 250.0)})

    found = {e.id: (e.latency_s, e.images_per_s) for e in ledger.scored()[0].evaluations}
    assert found == {small.id: (0.02, 48.0), large.id: (0.004, 250.0)}
