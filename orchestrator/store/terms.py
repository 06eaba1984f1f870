"""Terms: claiming a partition, and what becomes of the claim."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from orchestrator.domain.errors import Fenced, Misconfigured
from orchestrator.domain.record import record
from orchestrator.domain.term import Partition, Term
from orchestrator.store import queries
from orchestrator.store.pool import Conn

SQL = queries.load("terms")


@record
class Owner:
    """A process that owns partitions: `id` is new at each start, `name` (host:port) for people."""

    id: UUID
    name: str


@record
class Ownership:
    """Who owns a partition, or owned it last; `pending` runs of it wait for an actor."""

    partition: Partition
    epoch: int
    owner: UUID | None
    owner_name: str | None
    alive: bool
    released: bool
    claimed_at: datetime | None
    pending: int


async def ensure(conn: Conn, partitions: int) -> None:
    """Make the rows of all partitions; raise `Misconfigured` if an unfinished run needs more."""
    await conn.execute(SQL["ensure"], partitions)
    highest: int | None = await conn.fetchval(SQL["highest_needed"])
    if highest is not None and highest >= partitions:
        raise Misconfigured(
            f"ORCHESTRATOR_PARTITIONS: {partitions} are too few, an unfinished run is in partition"
            f" {highest}: set at least {highest + 1} until such runs have ended"
        )


async def claim(conn: Conn, partition: Partition, owner: Owner) -> Term:
    """Begin a term: from now on no write of an older one takes effect.

    Load the partition's runs after this, in a new statement. Not to be called in a transaction.
    """
    epoch: int = await conn.fetchval(SQL["claim"], partition, owner.id, owner.name)
    return Term(partition, epoch)


async def confirm(conn: Conn, terms: Sequence[Term]) -> frozenset[Term]:
    """Return those of the terms that are not over."""
    partitions = [term.partition for term in terms]
    rows = await conn.fetch(SQL["confirm"], partitions, [term.epoch for term in terms])
    return frozenset(Term(Partition(row["partition"]), row["epoch"]) for row in rows)


async def vacant(conn: Conn, partitions: Sequence[Partition], owner: Owner) -> frozenset[Partition]:
    """Return those that no living process has still to hand over.

    A claim of another one is not wrong (the fence holds), only rude: calls in flight are cut off.
    Not to be called in a transaction.
    """
    rows = await conn.fetch(SQL["vacant"], partitions, owner.id)
    return frozenset(Partition(row["partition"]) for row in rows)


async def overview(conn: Conn) -> list[Ownership]:
    """Return who owns what, by partition. Not to be called in a transaction."""
    return [Ownership(**row) for row in await conn.fetch(SQL["overview"])]


async def release(conn: Conn, term: Term) -> None:
    """Record that the owner has stopped writing; raise `Fenced` if another had claimed already."""
    if await conn.fetchval(SQL["release"], term.partition, term.epoch) is None:
        raise Fenced(f"term {term.epoch} of partition {term.partition} is over")
