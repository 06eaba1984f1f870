"""Chooses the feed by the settings, and gives it what it needs of the other layers."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Pool

from orchestrator.actors.node import Node
from orchestrator.api.deps import Check
from orchestrator.feed.cluster import Cluster, KafkaConfig
from orchestrator.feed.embedded import EmbeddedFeed
from orchestrator.feed.kafka import KafkaFeed, Surroundings
from orchestrator.feed.owner import Patiently
from orchestrator.feed.ownership import Some
from orchestrator.settings import Settings
from orchestrator.store import lock, pool
from orchestrator.store.lock import OwnerLock
from orchestrator.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Feeding:
    """The feed, and what /health/ready says of it."""

    feed: EmbeddedFeed | KafkaFeed
    check: Callable[[], Awaitable[Check]]


async def choose(
    stack: AsyncExitStack,
    settings: Settings,
    *,
    node: Node,
    owner_lock: OwnerLock,
    patiently: Patiently,
    vacant: Some,
    api_pool: Pool,
    metrics: Metrics,
) -> Feeding:
    """Make the feed that the settings name; raise `Misconfigured` when that is impossible."""
    if settings.kafka_bootstrap_servers is None:
        return Feeding(EmbeddedFeed(settings.partitions, node, owner_lock, patiently), _disabled)
    async with pool.acquire(api_pool) as conn:
        deployment = await lock.deployment_id(conn)
    config = _config(settings, settings.kafka_bootstrap_servers, deployment)
    cluster = await stack.enter_async_context(Cluster(config))
    around = Surroundings(
        owner=node,
        lock=owner_lock,
        patiently=patiently,
        vacant=vacant,
        deployment=deployment,
        handover_grace_s=settings.handover_grace_s,
        metrics=metrics,
    )
    return Feeding(KafkaFeed(cluster, around), _checking(cluster))


def _config(settings: Settings, servers: str, deployment: UUID) -> KafkaConfig:
    password = settings.kafka_sasl_password
    return KafkaConfig(
        bootstrap_servers=servers,
        topic=settings.kafka_topic,
        group=settings.kafka_group or f"orchestrator-{deployment}",
        partitions=settings.partitions,
        replication_factor=settings.kafka_replication_factor,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=password.get_secret_value() if password else None,
        ssl_cafile=settings.kafka_ssl_cafile,
        ssl_certfile=settings.kafka_ssl_certfile,
        ssl_keyfile=settings.kafka_ssl_keyfile,
    )


def _checking(cluster: Cluster) -> Callable[[], Awaitable[Check]]:
    async def check() -> Check:
        began = time.monotonic()
        wrong = await cluster.ping()
        if wrong is not None:
            return Check("unhealthy", f"Kafka connection failed: {wrong}")
        took = round((time.monotonic() - began) * 1000, 2)
        return Check("healthy", "Kafka connection active", took)

    return check


async def _disabled() -> Check:
    return Check("disabled", "The embedded feed is used; Kafka is not configured")
