"""The process's metrics. Names are an interface: add, never rename. No label holds an id."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LAGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """One registry a process, so that tests can have several programs in one."""

    def __init__(self, version: str) -> None:
        self.registry = r = CollectorRegistry()
        # Documented in the guide; the first three keep their names and have no other labels.
        Gauge("api_info", "API information", ["version"], registry=r).labels(version).set(1)
        self.uptime = Gauge("api_uptime_seconds", "API uptime in seconds", registry=r)
        self.api_requests = Counter("api_requests", "Total number of API requests", registry=r)

        self._http = Counter(
            "orchestrator_http_requests",
            "HTTP requests answered",
            ["method", "route", "status"],
            registry=r,
        )
        self._http_seconds = Histogram(
            "orchestrator_http_request_seconds",
            "Time to answer an HTTP request",
            ["method", "route"],
            buckets=_SECONDS,
            registry=r,
        )
        self.runs_accepted = Counter(
            "orchestrator_runs_accepted", "Runs created by execute", registry=r
        )
        self._runs = Counter(
            "orchestrator_runs_ended", "Runs that ended, by status", ["status"], registry=r
        )
        self.run_seconds = Histogram(
            "orchestrator_run_seconds",
            "Time from an actor's start on a run to the run's end",
            buckets=_SECONDS,
            registry=r,
        )
        self._steps = Counter(
            "orchestrator_steps", "Step attempts that ended, by outcome", ["outcome"], registry=r
        )
        self._calls = Histogram(
            "orchestrator_agent_call_seconds",
            "Time of a call to an agent, polling included, by outcome",
            ["outcome"],
            buckets=_SECONDS,
            registry=r,
        )
        self.active_actors = Gauge(
            "orchestrator_active_actors", "Runs at work in this process", registry=r
        )
        self.mailbox_depth = Gauge(
            "orchestrator_mailbox_depth", "Hints waiting for the supervisors", registry=r
        )
        self.journal_depth = Gauge(
            "orchestrator_journal_depth", "Decisions waiting for the journal", registry=r
        )
        self.batch_rows = Histogram(
            "orchestrator_journal_batch_rows", "Decisions a commit", buckets=_ROWS, registry=r
        )
        self.commit_seconds = Histogram(
            "orchestrator_journal_commit_seconds",
            "Time of one journal commit",
            buckets=_SECONDS,
            registry=r,
        )
        self.terms_lost = Counter(
            "orchestrator_terms_lost", "Terms that another owner ended", registry=r
        )
        self._refused = Counter(
            "orchestrator_writes_refused",
            "Journal writes refused: fenced (term over) or stale (rows moved)",
            ["reason"],
            registry=r,
        )
        self.actor_crashes = Counter(
            "orchestrator_actor_crashes", "Actors that ended by an unexpected error", registry=r
        )
        self.partitions_owned = Gauge(
            "orchestrator_partitions_owned", "Partitions this process owns", registry=r
        )
        self.kafka_up = Gauge("orchestrator_kafka_up", "Whether Kafka answers", registry=r)
        self.hints_published = Counter(
            "orchestrator_hints_published", "Hints that Kafka took", registry=r
        )
        self._hints_dropped = Counter(
            "orchestrator_hints_dropped",
            "Hints not published: Kafka away, buffer full, or refused; the scan makes them good",
            ["reason"],
            registry=r,
        )
        self.hints_received = Counter(
            "orchestrator_hints_received", "Hints read from Kafka", registry=r
        )
        self._hints_skipped = Counter(
            "orchestrator_hints_skipped",
            "Records read that were no hint for this process",
            ["reason"],
            registry=r,
        )
        self.consumer_lag = Gauge(
            "orchestrator_consumer_lag", "Records not read yet, over all partitions", registry=r
        )
        self.consumer_rebuilds = Counter(
            "orchestrator_consumer_rebuilds", "Consumers replaced after a failure", registry=r
        )
        self.rebalances = Counter(
            "orchestrator_rebalances", "Assignments given by the consumer group", registry=r
        )
        self._cancellations = Counter(
            "orchestrator_task_cancellations",
            "Cancellations of agents' tasks, by what became of them",
            ["outcome"],
            registry=r,
        )
        self.executes_under_way = Gauge(
            "orchestrator_executes_under_way", "Executes that are being answered", registry=r
        )
        self.executes_limit = Gauge(
            "orchestrator_executes_limit",
            "Executes that may be under way at once: more are refused with 429",
            registry=r,
        )
        self.tasks = Gauge("orchestrator_tasks", "asyncio tasks of this process", registry=r)
        self.loop_lag = Histogram(
            "orchestrator_loop_lag_seconds",
            "How late the event loop comes to what is due",
            buckets=_LAGS,
            registry=r,
        )
        ProcessCollector(registry=r)  # process_…: memory, CPU, open files (on Linux)
        # What has not happened yet is shown as 0, so that its first time is a rise.
        for status in ("COMPLETED", "FAILED", "CANCELLED"):
            self._runs.labels(status)
        for outcome in ("completed", "attempt_failed", "failed"):
            self._steps.labels(outcome)
        for reason in ("fenced", "stale"):
            self._refused.labels(reason)
        # Children are looked up once: `labels()` costs more than the count itself.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._step_children: dict[str, Counter] = {}
        self._call_children: dict[str, Histogram] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the route's pattern, never the path."""
        self.api_requests.inc()
        child = self._children.get((method, route, status))
        if child is None:
            child = self._children[method, route, status] = (
                self._http.labels(method, route, str(status)),
                self._http_seconds.labels(method, route),
            )
        child[0].inc()
        child[1].observe(seconds)

    def step(self, outcome: str) -> None:
        child = self._step_children.get(outcome)
        if child is None:
            child = self._step_children[outcome] = self._steps.labels(outcome)
        child.inc()

    def call(self, outcome: str, seconds: float) -> None:
        child = self._call_children.get(outcome)
        if child is None:
            child = self._call_children[outcome] = self._calls.labels(outcome)
        child.observe(seconds)

    def run_ended(self, status: str) -> None:
        self._runs.labels(status).inc()

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def hint_dropped(self, reason: str) -> None:
        self._hints_dropped.labels(reason).inc()

    def hint_skipped(self, reason: str) -> None:
        self._hints_skipped.labels(reason).inc()

    def cancellation(self, outcome: str) -> None:
        self._cancellations.labels(outcome).inc()

    def watch(self, gauge: Gauge, read: Callable[[], float]) -> None:
        """Let `gauge` read its value when it is scraped."""
        gauge.set_function(read)

    def render(self) -> bytes:
        """Return the text exposition of everything."""
        return generate_latest(self.registry)
