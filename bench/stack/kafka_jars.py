"""Apache Kafka's jars, fetched once from Maven Central into the user's cache.

`python -m bench.stack.kafka_jars` fetches them, which the first start would do otherwise.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from bench.stack.failure import StackFailed

VERSION = "4.4.0"
_LOG4J = "2.26.1"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_TRIES = 3
_PAUSE_S = 2.0
_FETCH_S = 600.0

_POM = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>orchestrator.bench</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{_LOG4J}</version>
    </dependency>
  </dependencies>
</project>
"""


def cache() -> Path:
    """Return the folder of what is fetched once: BENCH_CACHE, or the user's."""
    chosen = os.environ.get("BENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("orchestrator-bench", appauthor=False)


def are_there() -> bool:
    """Say whether the jars have been fetched."""
    return _place().is_dir()  # it is renamed into place, so it is whole


def provide() -> Path:
    """Return the folder of the jars, fetched first if need be; raise `StackFailed` if they are not.

    Any number of processes may ask at once: one of them fetches.
    """
    jars = _place()
    if not are_there():
        cache().mkdir(parents=True, exist_ok=True)
        with _alone(cache() / "kafka.lock"):
            if not are_there():
                _fetch(jars)
    return jars


def _place() -> Path:
    return cache() / f"kafka-{VERSION}"


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a process that dies loses it
        yield


def _fetch(jars: Path) -> None:
    if shutil.which("mvn") is None:
        raise StackFailed("Maven fetches Kafka's jars: install it (Debian: apt-get install maven)")
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=jars.parent) as work:
        (Path(work) / "pom.xml").write_text(_POM)
        for attempt in range(1, _TRIES + 1):
            failure = _copy(Path(work))
            if failure is None:
                break
            if attempt == _TRIES:
                raise StackFailed(f"Kafka's jars could not be fetched:\n{failure}")
            time.sleep(_PAUSE_S)
        (Path(work) / "jars").rename(jars)


def _copy(work: Path) -> str | None:
    """Have Maven copy the jars into `work/jars`; return its complaint, or None."""
    shutil.rmtree(work / "jars", ignore_errors=True)
    # --strict-checksums: a jar that came damaged is an error, not a warning.
    command = ["mvn", "-q", "-B", "--strict-checksums", "-f", str(work / "pom.xml"), _COPY]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={work / 'jars'}"]
    try:
        maven = subprocess.run(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_FETCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Maven took more than {_FETCH_S:.0f} s"
    return maven.stdout.strip() or "no reason was given" if maven.returncode else None


def main() -> int:
    """Fetch the jars; print where they are."""
    try:
        sys.stdout.write(f"{provide()}\n")
    except StackFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
