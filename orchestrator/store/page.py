"""Which part of a list is wanted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """The `number`-th page (from 1) of `size` items."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size
