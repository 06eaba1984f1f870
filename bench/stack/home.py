"""The folder in which a stack keeps its data, its keys and its logs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from bench.stack.failure import StackFailed


@dataclass(frozen=True, slots=True)
class Home:
    """`folder` must be one that the database's user can reach."""

    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgresql"

    @property
    def postgres_log(self) -> Path:
        return self.postgres / "postgres" / "server.log"

    @property
    def kafka(self) -> Path:
        return self.folder / "kafka"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; raise `StackFailed` while another one does."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / "up.lock").open("a+")
        except OSError as error:
            raise StackFailed(
                f"the folder {self.folder} cannot be used ({error.strerror}): name another one with"
                " --home"
            ) from error
        with file as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read().strip()
                raise StackFailed(
                    f"a stack in {self.folder} is up already (pid {owner}): stop it, or name"
                    " another folder with --home"
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def prepare(self) -> None:
        """Make what is missing; each log begins anew, with the last one beside it."""
        for folder in (self.logs, self.kafka):
            folder.mkdir(exist_ok=True)
        for log in [*self.logs.glob("*.log"), *self.kafka.glob("*.log")]:
            if not log.is_symlink():
                log.rename(log.with_suffix(".log.1"))
        for name, kept in (("kafka", self.kafka / "kafka.log"), ("postgresql", self.postgres_log)):
            if not self.log(name).is_symlink():
                self.log(name).symlink_to(kept)

    def secret_key(self) -> str:
        """Return the key that all orchestrators on this data seal with."""
        file = self.folder / "secret.key"
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as made:
                made.write(Fernet.generate_key().decode())
        return file.read_text().strip()
