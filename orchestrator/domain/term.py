"""A term: one reign of one owner over a partition."""

from dataclasses import dataclass
from typing import NewType

Partition = NewType("Partition", int)


@dataclass(frozen=True, slots=True)
class Term:
    """`epoch` rises with every claim; a write of an older epoch is refused (the fence)."""

    partition: Partition
    epoch: int
