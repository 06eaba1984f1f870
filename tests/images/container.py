"""A container without Docker: one process as PID 1, with a read-only root and a network of its own.

As `docker run --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp` with a
volume on each of `volumes`.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.images.builder import Builder, command_of, run_settings
from tests.images.dockerfile import Stage

_START_S = 90.0
_STOP_S = 30.0
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_CONFINE = """
set -eu
root=$1 lower=$2 volumes=$3
shift 3
mount -t overlay overlay -o "ro,lowerdir=$lower" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o size=64m shm "$root/dev/shm"
mount -t tmpfs tmp "$root/tmp"
for volume in $volumes; do mount --bind "${volume#*:}" "$root${volume%%:*}"; done
ip link set lo up
exec "$@"
"""
_CLIENT = """
import http.client, sys
method, path, body = sys.argv[1:]
asked = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
asked.request(method, path, body or None, {"Content-Type": "application/json"})
answer = asked.getresponse()
print(answer.status)
print(answer.read().decode())
"""


class Container:
    """One process of an image; `volumes` are folders of the builder's namespace, by mount point."""

    def __init__(
        self,
        builder: Builder,
        stage: Stage,
        arguments: Sequence[str] | None = None,
        *,
        volumes: Mapping[str, Path] | None = None,
        network_of: "Container | None" = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.stage = stage
        self._builder = builder
        self._root = builder.root(stage.name)
        self._settings = run_settings(stage, settings or {})
        mounts = " ".join(f"{where}:{what}" for where, what in (volumes or {}).items())
        network = ["--net"]
        enter: list[str] = []
        if network_of is not None:
            network, enter = [], ["nsenter", f"--net=/proc/{network_of.pid}/ns/net", "--"]
        command = [
            *enter, "unshare", "--mount", "--pid", *network, "--fork", "--kill-child", "--",
            "sh", "-c", _CONFINE, "sh", str(self._root), builder.lower(stage.name), mounts,
            *self._as_user(command_of(stage, arguments)),
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [*_DIES_WITH_US, *builder.inside(*command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _as_user(self, command: Sequence[str], **settings: str) -> list[str]:
        """Return the command line that runs `command` in this root as the image's user."""
        user, workdir = self.stage.last("USER"), self.stage.last("WORKDIR")
        assert user is not None
        assert workdir is not None
        given = {**self._settings, **settings}
        return [
            "chroot", f"--userspec={user.value}", "--groups=", str(self._root),
            "/usr/bin/env", "-i", f"--chdir={workdir.value}",
            *(f"{name}={value}" for name, value in given.items()),
            # The death signal last: a change of user clears it.
            "/usr/bin/setpriv", "--no-new-privs", "--pdeathsig", "KILL", "--", *command,
        ]  # fmt: skip

    @property
    def pid(self) -> int:
        """Return its first process, by the number that the machine gives it."""
        ours = self.process.pid
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if found := Path(f"/proc/{ours}/task/{ours}/children").read_text().split():
                return int(found[0])
            assert self.process.poll() is None, self.output()
            time.sleep(0.01)
        raise TimeoutError("no process was started")

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as `docker exec` does."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--"]
        line = [*enter, *self._as_user(command, **settings)]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    def check_health(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the image's health check once."""
        check = self.stage.last("HEALTHCHECK")
        assert check is not None
        return self.run(*check.command, **settings)

    def wait_until_healthy(self, check: Sequence[str] | None = None) -> Self:
        """Return once the image's health check passes, or `check`, as `depends_on` does."""
        deadline = time.monotonic() + _START_S
        while (done := self.run(*check) if check else self.check_health()).returncode:
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, done
        return self

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request from within; return the status and the answer."""
        text = "" if body is None else json.dumps(body)
        done = self.run("/app/bin/python", "-c", _CLIENT, method, path, text)
        assert done.returncode == 0, done
        status, _, answer = done.stdout.partition("\n")
        return int(status), json.loads(answer) if answer.startswith(("{", "[")) else answer

    def stop(self) -> int:
        """End it as `docker stop` does, with its STOPSIGNAL; return its exit code."""
        told = self.stage.last("STOPSIGNAL")
        assert told is not None
        os.kill(self.pid, signal.Signals[told.value])
        return self.process.wait(_STOP_S)

    def output(self) -> str:
        """Return all that it wrote, once it has ended."""
        said: str = self.process.communicate(timeout=_STOP_S)[0]
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()  # and with it its child, and all else that is in there
        self.process.communicate(timeout=_STOP_S)
