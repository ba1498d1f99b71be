"""Metrics for Prometheus: of the requests to this process, and of all processes of the service.

What coordinator and drivers do is counted in the database (`searchd.store.counters`), so that one
scrape of the API finds everything; with several API processes on a database, each shows the same
numbers of the service. No metric names a search or a user: like `/healthz`, `/metrics` needs no
token.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.schemas import PREFIX
from searchd.domain.lifecycle import TrialStatus, WorkKind, WorkStatus
from searchd.domain.sinks import SinkKind
from searchd.domain.trial import Outcome
from searchd.store import Database, counters, gauges
from searchd.store import counters as stored
from searchd.store.base import now
from searchd.store.counters import SECONDS, Counted

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_KINDS = tuple(kind.value for kind in WorkKind)
_ENDS = (WorkStatus.DONE.value, WorkStatus.FAILED.value)
_OUTCOMES = (
    *(each.value for each in Outcome if each is not Outcome.STOPPED),
    TrialStatus.CANCELLED.value,
)
_Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Described:
    """A counter or a histogram of the database, as it is shown."""

    metric: stored.Metric
    help: str
    labels: Mapping[str, Sequence[str]]
    """Every value of each label: what has not happened yet is shown as 0, so that its first
    occurrence is an increase."""


_COUNTERS = (
    _Described(
        stored.Metric.WORK_ENDED,
        "Pieces of work that ended; failed means given up by the coordinator.",
        {"kind": _KINDS, "status": _ENDS},
    ),
    _Described(
        stored.Metric.LEASES, "Leases granted, each to a new driver process.", {"kind": _KINDS}
    ),
    _Described(
        stored.Metric.REQUEUES,
        "Restarts: work taken from a driver that died, or that gave it back.",
        {"kind": _KINDS},
    ),
    _Described(stored.Metric.TRIAL_STARTS, "Attempts at trials that workers started.", {}),
    _Described(
        stored.Metric.TRIALS_ENDED,
        "Trials that ended; one that is cancelled and resumed ends again.",
        {"outcome": _OUTCOMES},
    ),
    _Described(
        stored.Metric.ROUNDS, "Rounds of the coordinator.", {"result": ("succeeded", "failed")}
    ),
    _Described(
        stored.Metric.WEBHOOK_ATTEMPTS,
        "Requests to receivers of webhooks; retried means failed, and to be sent again.",
        {"result": ("delivered", "retried", "failed")},
    ),
    _Described(
        stored.Metric.SINK_RECORDS,
        "Trials that sinks got, and failures of sinks, which are tried again.",
        {"sink": tuple(kind.value for kind in SinkKind), "result": ("sent", "failed")},
    ),
    _Described(
        stored.Metric.ROUND_SECONDS, "Seconds that rounds of the coordinator took, in total.", {}
    ),
)
_HISTOGRAMS = (
    _Described(
        stored.Metric.QUEUE_WAIT,
        "Seconds for which work was queued until a driver was started for it.",
        {"kind": _KINDS},
    ),
    _Described(
        stored.Metric.TRIAL_SECONDS,
        "Seconds that workers spent on each trial that ended, over all attempts.",
        {"outcome": _OUTCOMES},
    ),
)


class HttpMetrics:
    """ASGI middleware that counts and times requests by their route, and not by their path."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "searchd_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "searchd_http_request_seconds",
            "Seconds until the response began; a stream of events begins at once.",
            ("method", "route"),
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, counted)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = _known(scope["method"]), route_of(scope)
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


def route_of(scope: Scope) -> str:
    """Return the template of the route that a request reached below /api/v1, such as
    /searches/{search}; "other" for files of the web page, and requests that reached no route."""
    path: str = getattr(scope.get("route"), "path", "")
    return path.removeprefix(PREFIX) or "other"  # older versions of FastAPI include the prefix


def new_registry(database: Database) -> CollectorRegistry:
    """Return the metrics of this process and of the service; `HttpMetrics` adds its own."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(ServiceMetrics(database))
    return registry


def text_of(registry: CollectorRegistry) -> bytes:
    """Return all metrics in the text format of Prometheus."""
    return generate_latest(registry)


class ServiceMetrics(Collector):
    """Reads the metrics of the whole service when they are scraped."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Return no metrics, so that registering reads no database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; only searchd_database_up while the database is unavailable."""
        try:
            with self._database.read() as session:
                counted = counters.every(session)
                present = gauges.read(session, now=now())
        except SQLAlchemyError as error:
            log.warning("the metrics of the service cannot be read: %s", type(error).__name__)
            yield _gauge("database_up", "Whether the database answers.", 0)
            return
        yield _gauge("database_up", "Whether the database answers.", 1)
        yield from _present(present)
        by_name = _by_name(counted)
        for each in _COUNTERS:
            yield _counter(each, by_name[each.metric])
        for each in _HISTOGRAMS:
            yield _histogram(each, by_name[f"{each.metric}_bucket"], by_name[f"{each.metric}_sum"])
        last = by_name[stored.Metric.LAST_ROUND]
        text = "Time of the coordinator's last recorded round, in seconds since 1970; 0: none yet."
        yield _gauge(stored.Metric.LAST_ROUND, text, last[0].value if last else 0)


def _present(present: gauges.Gauges) -> Iterator[Metric]:
    work = GaugeMetricFamily(
        "searchd_work", "Pieces of work that have not ended.", labels=("kind", "status")
    )
    for kind, status in product(WorkKind, gauges.OPEN_WORK):
        work.add_metric((kind.value, status.value), present.work.get((kind, status), 0))
    yield work
    trials = GaugeMetricFamily("searchd_trials", "Trials that have not ended.", labels=("status",))
    for each in gauges.OPEN_TRIALS:
        trials.add_metric((each.value,), present.trials.get(each, 0))
    yield trials
    leased = sum(n for (_, s), n in present.work.items() if s is WorkStatus.LEASED)
    yield _gauge("leases", "Leases that drivers hold.", leased)
    text = "Leases that have expired because their driver died or cannot reach the database."
    yield _gauge("leases_overdue", text, present.overdue_leases)
    text = "Seconds for which the oldest queued work has waited; 0 if nothing is queued."
    yield _gauge("oldest_queued_seconds", text, present.oldest_queued_s)
    text = "Messages that webhooks are still to get."
    yield _gauge("webhook_deliveries_pending", text, present.pending_deliveries)


def _by_name(counted: Iterable[Counted]) -> Mapping[str, list[Counted]]:
    found: dict[str, list[Counted]] = defaultdict(list)
    for each in counted:
        found[each.name].append(each)
    return found


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"searchd_{name}", text, value=value)


def _counter(described: _Described, counted: Iterable[Counted]) -> CounterMetricFamily:
    names = tuple(described.labels)
    values = dict.fromkeys(product(*described.labels.values()), 0.0)
    values |= {_values(each, names): each.value for each in counted}
    family = CounterMetricFamily(f"searchd_{described.metric}", described.help, labels=names)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(
    described: _Described, buckets: Iterable[Counted], sums: Iterable[Counted]
) -> HistogramMetricFamily:
    names, bounds = tuple(described.labels), [*map(str, SECONDS), "+Inf"]
    counts: dict[_Labels, dict[str, float]] = {
        labels: dict.fromkeys(bounds, 0.0) for labels in product(*described.labels.values())
    }
    for each in buckets:
        counts.setdefault(_values(each, names), {})[each.labels["le"]] = each.value
    totals = {_values(each, names): each.value for each in sums}
    family = HistogramMetricFamily(f"searchd_{described.metric}", described.help, labels=names)
    for labels, found in counts.items():
        cumulative = accumulate(found.get(bound, 0.0) for bound in bounds)
        family.add_metric(labels, [*zip(bounds, cumulative, strict=True)], totals.get(labels, 0.0))
    return family


def _values(counted: Counted, names: Sequence[str]) -> _Labels:
    return tuple(counted.labels[name] for name in names)


def _known(method: Any) -> str:
    """Return a method of HTTP, or "other": a client could send any text."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
