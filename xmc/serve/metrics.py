"""What the service counts, in Prometheus' text form. A registry of its own: several services can live in a process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

if TYPE_CHECKING:
    from xmc.serve.batcher import Timed
    from xmc.serve.served_run import ServedRun
    from xmc.serve.service import Service

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
QUERIES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        names = ["route", "status"]
        self._requests = Counter("xmc_requests", "Requests answered.", names, registry=self.registry)
        self._seconds = self._histogram(
            "xmc_request_seconds", "From the head of a request to its answer.", SECONDS, "route"
        )
        self._waited = self._histogram("xmc_search_waited_seconds", "Waiting for a batch.", SECONDS, "run")
        self._searched = self._histogram("xmc_search_seconds", "Searching the batch, per request.", SECONDS, "run")
        self._batch = self._histogram("xmc_batch_queries", "Queries of a request's batch.", QUERIES, "run")
        self._abstained = Counter("xmc_abstained", "Queries with no hit.", ["run"], registry=self.registry)
        ProcessCollector(registry=self.registry)

    def watch(self, service: Service) -> None:
        """Gauges that look at the service when they are read."""
        waiting = Gauge("xmc_waiting_requests", "Requests that wait for a search.", ["run"], registry=self.registry)
        labels = Gauge("xmc_labels", "Labels that are searched.", ["run"], registry=self.registry)
        stale = Gauge("xmc_reload_failed", "1 while it cannot be reloaded.", ["run"], registry=self.registry)
        for run in service.runs.values():
            waiting.labels(run.name).set_function(partial(len, run.batcher))
            labels.labels(run.name).set_function(run.count_labels)
            stale.labels(run.name).set_function(run.is_stale)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def searched(self, run: ServedRun, timed: Timed) -> None:
        """Count one searched request."""
        self._waited.labels(run.name).observe(timed.waited_s)
        self._searched.labels(run.name).observe(timed.searched_s)
        self._batch.labels(run.name).observe(timed.batch_queries)
        nothing = sum(not hits for hits in timed.answer.lists)
        if nothing:
            self._abstained.labels(run.name).inc(nothing)

    def response(self) -> Response:
        """The page that Prometheus reads."""
        return Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], label: str) -> Histogram:
        return Histogram(name, text, [label], buckets=buckets, registry=self.registry)
