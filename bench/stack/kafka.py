"""A real Apache Kafka of one node (KRaft), run from its jars: for tests, `up` and measurements.

Needs Java 17 or newer, and Maven for the first time.
"""

import base64
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.stack import child, kafka_jars
from bench.stack.failure import StackFailed

START_S = 120.0  # after SIGKILL on a busy machine; as a rule it takes 3 to 8 s
STOP_S = 30.0
_TICK = 0.05
_HOST = "127.0.0.1"

# Little memory, and quick to start rather than fast in the long run.
_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)
_LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
"""
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # One node has one copy of everything.
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Few threads, little memory.
    "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
    "log.cleaner.threads": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    # A killed broker is let in again after its old session has timed out.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
}


class Kafka:
    """`with Kafka(folder) as kafka`: a broker at `kafka.bootstrap`, its data and log in `folder`.

    It can be stopped, killed and started again, on the same data and the same port. Start it from
    the main thread (see `child`). `properties` are the broker's own and win over ours.
    """

    def __init__(
        self, folder: Path, port: int = 0, properties: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder.absolute()
        self.port = port or child.free_port()
        self.log = self.folder / "kafka.log"
        self._properties = dict(properties or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """What a client is given as its bootstrap servers."""
        return f"{_HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """What the process ended with; None while it runs."""
        return self._process.poll() if self._process else None

    def start(self, within: float = START_S) -> Self:
        """Start the broker; return when it takes clients, raise `StackFailed` if it does not."""
        self.spawn()
        deadline = time.monotonic() + within
        while not self.is_ready():
            if time.monotonic() > deadline:
                self.kill()
                raise StackFailed(f"Kafka was not ready after {within:.0f} s\n{self._said()}")
            time.sleep(_TICK)
        return self

    def spawn(self) -> "subprocess.Popen[bytes]":
        """Start the process without waiting; its folder is formatted first if it is new."""
        if self._process is not None and self._process.poll() is None:
            raise StackFailed("Kafka runs already")
        java = _java()
        path = os.pathsep.join(sorted(str(jar) for jar in kafka_jars.provide().glob("*.jar")))
        properties = self._configure()
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        jvm = [java, *_JVM, logging, "-cp", path]
        serve = [*jvm, "kafka.Kafka", str(properties)]
        if not (self.folder / "data" / "meta.properties").exists():
            form = [*jvm, "kafka.tools.StorageTool", "format"]
            form += ["--cluster-id", _cluster_id(), "--config", str(properties)]
            serve = ["sh", "-c", f"{shlex.join(form)} && exec {shlex.join(serve)}"]
        self._process = child.spawn(serve, self.log)
        return self._process

    def is_ready(self) -> bool:
        """Say whether the broker takes clients; raise `StackFailed` if its process has ended."""
        if self._process is None or self._process.poll() is not None:
            raise StackFailed(f"Kafka ended with code {self.exit_code}\n{self._said()}")
        return _lists_a_broker(self.port)

    def stop(self, within: float = STOP_S) -> None:
        """Stop the broker in order; kill it if that takes too long."""
        if self._process is not None:
            self.resume()
            child.end(self._process, within)

    def kill(self) -> None:
        """End the broker with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Stop the broker, and start it again on the same data and port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop the process in its tracks: connections stay, and nothing is answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _configure(self) -> Path:
        """Write the broker's settings; return the file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        controller = f"{_HOST}:{child.free_port()}"
        settings = _PROPERTIES | {
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": str(self.folder / "data"),
        }
        file = self.folder / "server.properties"
        lines = (f"{name}={value}\n" for name, value in (settings | self._properties).items())
        file.write_text("".join(lines))
        return file

    def _said(self) -> str:
        return child.tail(self.log)


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        raise StackFailed(
            "Kafka runs on Java 17 or newer: install it"
            " (Debian: apt-get install openjdk-17-jre-headless)"
        )
    return java


def _cluster_id() -> str:
    # One that begins with a dash would be taken for an option.
    return "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _lists_a_broker(port: int) -> bool:
    """Ask for metadata (version 1, no topics): a broker that is let in lists itself.

    An open port is not enough: it is there long before the controller takes the broker in.
    """
    request = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
    try:
        with socket.create_connection((_HOST, port), 1.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                size = struct.unpack(">i", answer.read(4))[0]
                _, brokers = struct.unpack(">ii", answer.read(size)[:8])
    except (OSError, struct.error):
        return False
    return bool(brokers >= 1)
