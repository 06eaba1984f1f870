"""The composition root: builds everything, binds functions to one another, and unwinds in order.

Starts top to bottom and stops bottom to top: listening address, database, ownership lock, journal,
actors, feed, listener.
"""

import asyncio
import gc
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import structlog
from asyncpg import Connection, Pool

from orchestrator import listener
from orchestrator.actors.node import Node
from orchestrator.actors.ports import Limits
from orchestrator.actors.watch import Watch
from orchestrator.agents.client import A2AClient
from orchestrator.agents.egress import Egress
from orchestrator.agents.push import Push
from orchestrator.api.app import make_app
from orchestrator.api.deps import VERSION
from orchestrator.api.throttle import Throttle
from orchestrator.binding import Binding
from orchestrator.domain.errors import Unavailable
from orchestrator.feeding import choose
from orchestrator.settings import Settings
from orchestrator.store import chores, pool, terms, totals
from orchestrator.store.creation import Creator
from orchestrator.store.definitions import Definitions
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.journal import Journal
from orchestrator.store.lock import OwnerLock
from orchestrator.store.migrate import migrate as migrate_database
from orchestrator.store.sealing import Sealer, load_sealer
from orchestrator.store.session import Session
from orchestrator.telemetry import loop_lag
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_CHORES_EVERY_S = 600.0
_RETRY_CHORES_S = 5.0
_FOLD_EVERY_S = 5.0
_CLOSE_S = 2.0


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raise `Misconfigured` when that is impossible."""
    stop = _stop_signal()
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(listener.bind(settings.host, settings.port))
        dsn = await _database(stack, settings)
        await _serve_on(dsn, listening, settings, stop)


async def migrate(settings: Settings) -> None:
    """Bring the database's schema up to date; raise `Misconfigured` when that is impossible."""
    async with AsyncExitStack() as stack:
        await migrate_database(await _database(stack, settings))


async def _database(stack: AsyncExitStack, settings: Settings) -> str:
    if settings.database_url is not None:
        return settings.database_url
    folder = settings.data_folder / "postgresql"
    embedded = EmbeddedPostgres(folder, settings.pg_bin)
    return (await stack.enter_async_context(embedded)).dsn


async def _serve_on(
    dsn: str, listening: socket.socket, settings: Settings, stop: asyncio.Event
) -> None:
    """Serve on a database that is there."""
    await migrate_database(dsn)
    sealer = _sealer(settings)
    metrics = Metrics(VERSION)

    def session(name: str) -> Callable[[], Awaitable[Connection]]:
        return lambda: pool.connect(dsn, application_name=f"orchestrator {name}")

    async with AsyncExitStack() as stack:
        owner = terms.Owner(uuid.uuid4(), listener.name(listening))
        alone = settings.kafka_bootstrap_servers is None
        lock = await stack.enter_async_context(
            OwnerLock(session("lock"), owner.id, exclusive=alone)
        )
        api_pool = await pool.connect_pool(dsn, settings.database_connections)
        stack.push_async_callback(_close_pool, api_pool)
        async with pool.acquire(api_pool) as conn:
            await terms.ensure(conn, settings.partitions)
        await _do_chores(dsn, settings)
        journal = await stack.enter_async_context(
            Journal(
                session("journal"),
                lanes=settings.journal_connections,
                on_commit=_observer(metrics),
            )
        )
        metrics.watch(metrics.journal_depth, lambda: journal.depth)
        throttle = Throttle()
        metrics.watch(metrics.executes_limit, lambda: throttle.limit)
        metrics.watch(metrics.executes_under_way, lambda: throttle.under_way)
        creator = await stack.enter_async_context(
            Creator(session("creation"), settings.partitions, on_commit=throttle.committed)
        )
        push = None if settings.public_url is None else Push(settings.public_url)
        client = await stack.enter_async_context(
            A2AClient(
                max_answer_bytes=settings.max_answer_bytes,
                max_calls=settings.agent_max_calls,
                egress=Egress.read(
                    settings.egress_schemes,
                    settings.egress_ports,
                    settings.egress_allow,
                    settings.egress_deny,
                ),
                target=None if push is None else push.target,
            )
        )
        looking = Session(session("scan"))
        stack.push_async_callback(looking.close)
        binding = Binding(
            pool=api_pool,
            looking=looking,
            journal=journal,
            creator=creator,
            client=client,
            push=push,
            throttle=throttle,
            sealer=sealer,
            definitions=Definitions(settings.step_timeout),
            metrics=metrics,
            owner=owner,
        )
        watch = Watch(binding.statuses, settings.max_waiters)
        node = Node(binding.ports(), _limits(settings), metrics, watch)
        client.share_with_others(lambda: len(node.partitions()) / settings.partitions)
        feeding = await choose(
            stack,
            settings,
            node=node,
            owner_lock=lock,
            patiently=_patiently,
            vacant=binding.vacant,
            api_pool=api_pool,
            metrics=metrics,
        )
        feed = feeding.feed
        deps = binding.deps(settings, node, watch, feed, feeding.check)
        works = (node.run(), watch.run(), feed.run(), _chores(dsn, settings), _fold(api_pool))
        async with _tasks(*works, loop_lag.watch(metrics)) as over:
            await feed.start()
            async with listener.serving(make_app(deps), listening):
                _settle_garbage_collection()
                host, port = listening.getsockname()[:2]
                log.info("serving", host=host, port=port, url=listener.url(listening))
                stopping = asyncio.ensure_future(_until(stop))
                await asyncio.wait((stopping, over), return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                log.info("stopping", grace_s=settings.shutdown_grace_s)
                watch.close()
                await node.drain()
    log.info("stopped")


def _sealer(settings: Settings) -> Sealer:
    keys = settings.secret_keys
    return load_sealer(keys.get_secret_value() if keys else None, settings.data_folder)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_active_runs=settings.max_active_runs,
        scan_interval=timedelta(seconds=settings.scan_interval_s),
        park_after=timedelta(seconds=settings.park_after_s),
        shutdown_grace=timedelta(seconds=settings.shutdown_grace_s),
        handover_grace=timedelta(seconds=settings.handover_grace_s),
        cancel_patience=timedelta(seconds=settings.cancel_patience_s),
    )


def _observer(metrics: Metrics) -> Callable[[int, float], None]:
    def observe(rows: int, seconds: float) -> None:
        metrics.batch_rows.observe(rows)
        metrics.commit_seconds.observe(seconds)

    return observe


# -- tasks and signals ----------------------------------------------------------------------------


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    return stop


@asynccontextmanager
async def _tasks(*work: Awaitable[None]) -> AsyncIterator[asyncio.Future[None]]:
    """Run `work` beside the block; the yielded future is done when one of them ended by an error.

    That error is then raised at the end of the block; without one, the tasks are cancelled there.
    """
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    tasks = [asyncio.ensure_future(one) for one in work]

    def ended(_: asyncio.Future[None]) -> None:
        if not over.done():
            over.set_result(None)

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield over
    finally:
        failed = [t for t in tasks if t.done() and not t.cancelled() and t.exception()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen: the block's own error says enough
    if failed:
        await failed[0]


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _patiently(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`, again and again while the database is away."""
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(0.5)


async def _do_chores(dsn: str, settings: Settings) -> None:
    conn = await pool.connect(
        dsn, application_name="orchestrator chores", statement_timeout=pool.CHORE_TIMEOUT
    )
    try:
        with pool.translating():
            await chores.do(conn, settings.retention_days)
    finally:
        conn.terminate()


async def _chores(dsn: str, settings: Settings) -> None:
    """Do the chores every ten minutes; sooner after a failure, since a missing part is urgent."""
    pause = _CHORES_EVERY_S
    while True:
        await asyncio.sleep(pause)
        try:
            await _do_chores(dsn, settings)
            pause = _CHORES_EVERY_S
        except Unavailable as away:
            log.warning("chores_postponed", reason=away.message)
            pause = _RETRY_CHORES_S


async def _fold(api_pool: Pool) -> None:
    """Fold the totals of runs every few seconds: a list reads what is left unfolded one by one."""
    while True:
        await asyncio.sleep(_FOLD_EVERY_S)
        try:
            async with pool.acquire(api_pool) as conn:
                await totals.fold(conn)
        except Unavailable as away:
            log.info("fold_postponed", reason=away.message)


# -- the end and the beginning -------------------------------------------------------------------


async def _close_pool(api_pool: Pool) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await api_pool.close()
    except (TimeoutError, OSError):
        api_pool.terminate()


def _settle_garbage_collection() -> None:
    """Take what start-up made out of the collector's sight, and let it look less often.

    Most objects of a run die by reference count; measured, this gives about a tenth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
