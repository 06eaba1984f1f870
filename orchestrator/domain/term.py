"""A term: one reign of one owner over a partition."""

from typing import NewType

from orchestrator.domain.record import record

Partition = NewType("Partition", int)


@record
class Term:
    """`epoch` rises with every claim; a write of an older epoch is refused (the fence)."""

    partition: Partition
    epoch: int
