"""Hints on the wire: which run somebody should look at. The one place that knows the format.

A record is JSON, keyed by the run's id: {"v": 1, "deployment": …, "kind": …, "run_id": …}. Topics
may be shared and processes of two versions run side by side, so whatever is not ours is skipped
with a reason, never an error: the rows of the run say the same.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ValidationError

from orchestrator.domain.run import RunId, external_id, parse_external_id

VERSION = 1
_MAX_BYTES = 4096  # ours are below 200


class Kind(StrEnum):
    """What happened to the run."""

    RUN_REQUESTED = "RunRequested"
    RETRY_REQUESTED = "RetryRequested"
    CANCEL_REQUESTED = "CancelRequested"


_KINDS = frozenset(Kind)


class Skip(StrEnum):
    """Why a record is not for us."""

    POISON = "poison"  # no record of any version
    FOREIGN = "foreign"  # another deployment's
    UNKNOWN = "unknown"  # a version or a kind that this program does not know


@dataclass(frozen=True, slots=True)
class Hint:
    kind: Kind
    run_id: RunId


class _Record(BaseModel):
    """A record of any version: what all of them have."""

    v: int
    deployment: UUID
    kind: str
    run_id: str


def encode(deployment: UUID, hint: Hint) -> tuple[bytes, bytes]:
    """Return the record's key and value."""
    run_id = external_id(hint.run_id)
    record = _Record(v=VERSION, deployment=deployment, kind=hint.kind, run_id=run_id)
    return run_id.encode(), record.model_dump_json().encode()


def decode(deployment: UUID, value: bytes | None) -> Hint | Skip:
    """Read a record's value."""
    if value is None or len(value) > _MAX_BYTES:
        return Skip.POISON
    try:
        record = _Record.model_validate_json(value)
    except ValidationError:
        return Skip.POISON
    if record.deployment != deployment:
        return Skip.FOREIGN
    if record.v != VERSION or record.kind not in _KINDS:
        return Skip.UNKNOWN
    run_id = parse_external_id(record.run_id)
    return Skip.POISON if run_id is None else Hint(Kind(record.kind), run_id)
