"""Kafka as a whole: how to reach it, whether it answers, and our topic in it.

Kafka may be away at any time; nobody waits for it. Whether it answers is logged when it changes,
not each time it is asked.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError

from orchestrator.domain.errors import Misconfigured
from orchestrator.domain.term import Partition

log = structlog.get_logger(__name__)

ANSWER_S = 5.0
_PING_S = 2.0
_PING_EVERY_S = 2.0
_VISIBLE_WITHIN_S = 10.0  # after its creation a topic is not known everywhere at once
_LOOK_EVERY_S = 0.1

# What talking to an absent, restarting or refusing Kafka raises.
AWAY = (KafkaError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """The settings of the Kafka feed."""

    bootstrap_servers: str
    topic: str
    group: str
    partitions: int
    replication_factor: int = 1
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    def client(self) -> dict[str, Any]:
        """Return what every client of aiokafka is given; raise `Misconfigured` for bad files."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": "orchestrator",
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "ssl_context": self._ssl() if "SSL" in self.security_protocol.split("_") else None,
            "request_timeout_ms": int(ANSWER_S * 1000),
            # Brokers and topics that come and go are noticed this soon.
            "metadata_max_age_ms": 10_000,
        }

    def _ssl(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(
                f"ORCHESTRATOR_KAFKA_SSL_…: a file cannot be used: {error}"
            ) from None
        return context


class Cluster:
    """An async context manager; `run` keeps an eye on whether Kafka answers."""

    def __init__(self, config: KafkaConfig) -> None:
        self.config = config
        self.reachable = False
        self._told: bool | None = None
        self._client = config.client()
        self._admin: AIOKafkaAdminClient | None = None
        self._opening = asyncio.Lock()
        self._had_all_partitions = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def run(self) -> None:
        """Ask whether Kafka answers, again and again, until cancelled."""
        while True:
            await self.ping()
            await asyncio.sleep(_PING_EVERY_S)

    async def ping(self) -> str | None:
        """Ask Kafka for an answer; return what is wrong, or None."""
        wrong = await self._ask()
        if wrong is not None:  # it may have been one broker of several: begin at the list of all
            wrong = await self._ask()
        self._tell(wrong)
        return wrong

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(_PING_S):
                await (await self._opened()).describe_cluster()
        except AWAY as error:
            await self._close()
            return _said(error)
        return None

    async def ensure_topic(self) -> None:
        """Make the topic if it is not there, and see that it has the configured partitions.

        Raises `Misconfigured` when it has fewer; after a topic that was deleted has come back with
        fewer (brokers may make topics on their own), the missing ones are added. Raises what
        `AWAY` holds.
        """
        config = self.config
        admin = await self._opened()
        # Made first: asking for a topic that is not there may make a broker create its own idea.
        made = await admin.create_topics(
            [NewTopic(config.topic, config.partitions, config.replication_factor)],
            timeout_ms=int(ANSWER_S * 1000),
        )
        _, code, *said = made.topic_errors[0]
        count = await self._partition_count(admin)
        if count is None:
            raise KafkaError(f"the topic {config.topic} cannot be used: error {code} {said}")
        if count < config.partitions and self._had_all_partitions:
            await admin.create_partitions({config.topic: NewPartitions(config.partitions)})
            log.warning("kafka_topic_extended", topic=config.topic, partitions=config.partitions)
        elif count < config.partitions:
            raise Misconfigured(
                f"ORCHESTRATOR_PARTITIONS: the topic {config.topic} has {count} partitions, and"
                f" {config.partitions} are configured: set {count}, or add partitions to the topic"
            )
        elif code == 0:
            log.info("kafka_topic_created", topic=config.topic, partitions=count)
        self._had_all_partitions = True

    async def lags(self, ends: Mapping[Partition, int]) -> dict[Partition, int]:
        """Return how far committed offsets are behind `ends`; raise what `AWAY` holds."""
        committed = await (await self._opened()).list_consumer_group_offsets(self.config.group)
        at = {
            Partition(tp.partition): meta.offset
            for tp, meta in committed.items()
            if tp.topic == self.config.topic and meta.offset >= 0
        }
        return {p: max(0, end - at[p]) for p, end in ends.items() if p in at}

    async def _partition_count(self, admin: AIOKafkaAdminClient) -> int | None:
        """Return how many partitions the topic has, as soon as it is known; None: not in time."""
        try:
            async with asyncio.timeout(_VISIBLE_WITHIN_S):
                while True:
                    (topic,) = await admin.describe_topics([self.config.topic])
                    if topic["error_code"] == 0 and topic["partitions"]:
                        return len(topic["partitions"])
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            return None

    async def _opened(self) -> AIOKafkaAdminClient:
        async with self._opening:
            if self._admin is None:
                admin = AIOKafkaAdminClient(**self._client)
                try:
                    await admin.start()
                except BaseException:
                    await admin.close()
                    raise
                self._admin = admin
            return self._admin

    async def _close(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            try:
                async with asyncio.timeout(_PING_S):
                    await admin.close()
            except AWAY:
                pass  # it is gone anyway

    def _tell(self, wrong: str | None) -> None:
        self.reachable = wrong is None
        if self._told is self.reachable:
            return
        self._told = self.reachable
        if wrong is None:
            log.info("kafka_available", bootstrap_servers=self.config.bootstrap_servers)
        else:
            log.warning(
                "kafka_unavailable",
                bootstrap_servers=self.config.bootstrap_servers,
                reason=wrong,
                effect="runs are accepted; partitions stay with the processes that hold them",
            )


def _said(error: BaseException) -> str:
    return "Timeout" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
