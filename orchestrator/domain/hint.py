"""A hint: somebody should look at a run. Doubled, late or lost ones do no harm: the rows say it."""

from enum import StrEnum

from orchestrator.domain.record import record
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition


class HintKind(StrEnum):
    """What happened to the run."""

    RUN_REQUESTED = "RunRequested"
    RETRY_REQUESTED = "RetryRequested"
    CANCEL_REQUESTED = "CancelRequested"
    INPUT_GIVEN = "InputGiven"


@record
class Hint:
    """`seq` is what the run's rows were brought to, so that an old hint is known as such."""

    kind: HintKind
    run_id: RunId
    partition: Partition
    seq: int
