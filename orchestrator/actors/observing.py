"""What an actor's events mean for who runs the program: metrics, and log lines with the ids."""

import structlog

from orchestrator.domain.messages import AttemptFailed, Event, StepCompleted, StepFailed, StepParked
from orchestrator.domain.run import RunId, external_id
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


def observe(run_id: RunId, event: Event, metrics: Metrics) -> None:
    """Count and log an event that is durable."""
    match event:
        case StepCompleted():
            metrics.step("completed")
        case AttemptFailed(path=path, attempt=attempt, cause=cause, delay=delay):
            metrics.step("attempt_failed")
            log.info(
                "attempt_failed",
                run_id=external_id(run_id),
                step_id=path,
                attempt=attempt,
                cause=cause,
                delay_s=delay.total_seconds(),
            )
        case StepParked(path=path, waiting_for=waiting_for):
            metrics.step("parked")
            run = external_id(run_id)
            log.info("step_parked", run_id=run, step_id=path, waiting_for=waiting_for.value)
        case StepFailed(path=path, cause=cause):
            metrics.step("failed")
            log.info("step_failed", run_id=external_id(run_id), step_id=path, cause=cause)
        case _:
            pass
