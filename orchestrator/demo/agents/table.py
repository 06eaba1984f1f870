"""What the demo agents hand to one another: a checked table as plain JSON."""

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

Cell = float | str | None

Work = dict[str, Any]
"""What an agent gets and gives: one JSON object, as A2A's data parts carry it."""


class Unusable(Exception):
    """The input cannot be worked on; the message is for the user and becomes the step's error."""


class Column(TypedDict):
    name: str
    type: Literal["number", "text"]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and rows with one cell a column: a number, a text, or None for an empty one."""

    columns: list[Column]
    rows: list[list[Cell]]

    def column(self, index: int) -> list[Cell]:
        """Return the cells of one column that are not empty."""
        return [row[index] for row in self.rows if row[index] is not None]


def field(work: Work, name: str, kind: type) -> Any:
    """Return a member of an agent's input; raise `Unusable` when it is missing or another kind."""
    value = work.get(name)
    if not isinstance(value, kind) or value == "":
        raise Unusable(f"the input needs '{name}' ({kind.__name__})")
    return value
