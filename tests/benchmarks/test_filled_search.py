"""The invented search that the page and its endpoint are timed with is one that they can show."""

import pytest

from api.views.columns import in_columns
from benchmarks.filled_search import fill
from searchd.store import Database, upgrade
from searchd.store.resources import searches


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    url = f"sqlite:///{tmp_path_factory.mktemp('filled') / 'searchd.sqlite'}"
    upgrade(url)
    return Database(url)


def test_every_trial_is_there_with_its_evaluations_and_events(database: Database) -> None:
    search_id = fill(database, "long", num_trials=60)

    with database.read() as session:
        shown = in_columns(session, searches.get(session, search_id), since=0)

    assert shown.trials.name[:3] == ["base", "0", "1"]
    assert len(shown.trials.name) == 61
    statuses = [status.value for status in shown.trials.status]
    assert [statuses.count(each) for each in ("succeeded", "failed", "skipped")] == [59, 1, 1]
    assert len(shown.evaluations.trial) == 2 * 59
    assert shown.event == 2 * 61 + 1
    assert shown.resolutions == ["96x96", "128x128"]
    database.close()
