"""Hints on the wire: which run somebody should look at. The one place that knows the format.

A record is JSON, keyed by the run's id: {"v": 1, "deployment": …, "kind": …, "run_id": …,
"seq": …}. Topics may be shared and processes of two versions run side by side, so whatever is not
ours is skipped with a reason, never an error: the rows of the run say the same.
"""

from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ValidationError

from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import external_id, parse_external_id
from orchestrator.domain.term import Partition

VERSION = 1
_MAX_BYTES = 4096  # ours are below 250
_KINDS = frozenset(HintKind)


class Skip(StrEnum):
    """Why a record is not for us."""

    POISON = "poison"  # no record of any version
    FOREIGN = "foreign"  # another deployment's
    UNKNOWN = "unknown"  # a version or a kind that this program does not know


class _Record(BaseModel):
    """A record of any version: what all of them have."""

    v: int
    deployment: UUID
    kind: str
    run_id: str
    seq: int


def encode(deployment: UUID, hint: Hint) -> tuple[bytes, bytes]:
    """Return the record's key and value."""
    run_id = external_id(hint.run_id)
    record = _Record(v=VERSION, deployment=deployment, kind=hint.kind, run_id=run_id, seq=hint.seq)
    return run_id.encode(), record.model_dump_json().encode()


def decode(deployment: UUID, partition: Partition, value: bytes | None) -> Hint | Skip:
    """Read the value of a record of this partition."""
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
    if run_id is None:
        return Skip.POISON
    return Hint(HintKind(record.kind), run_id, partition, record.seq)
