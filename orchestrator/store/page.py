"""Which part of a list is wanted."""

from orchestrator.domain.record import record


@record
class Page:
    """The `number`-th page (from 1) of `size` items."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size
