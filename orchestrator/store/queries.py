"""Named SQL: `sql/queries/<module>.sql` as a mapping from name to statement.

A statement begins with the line `-- name: x` and ends at the next one. Whatever stands before the
first marker is the file's own comment.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from orchestrator import resources

_MARKER = re.compile(r"^--[ \t]*name:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def load(module: str) -> Mapping[str, str]:
    """Read `sql/queries/<module>.sql`; raise `ValueError` if a name is wrong, doubled or empty."""
    file = resources.folder("sql") / "queries" / f"{module}.sql"
    return MappingProxyType(parse(file.read_text(encoding="utf-8"), file.name))


def parse(text: str, source: str) -> dict[str, str]:
    """Split `text` at its markers; `source` names it in an error."""
    _, *pieces = _MARKER.split(text)
    statements: dict[str, str] = {}
    for name, body in zip(pieces[::2], pieces[1::2], strict=True):
        statement = body.strip().removesuffix(";").rstrip()
        if not _NAME.fullmatch(name):
            raise ValueError(f"{source}: '{name}' is no name for a statement")
        if name in statements:
            raise ValueError(f"{source}: there are two statements named '{name}'")
        if not any(line.strip() and not line.startswith("--") for line in statement.splitlines()):
            raise ValueError(f"{source}: the statement '{name}' is empty")
        statements[name] = statement
    return statements
