"""The program as a process of its own, driven by its API alone."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

START_S = 60.0


class Program:
    """`python -m orchestrator` on a free port; everything it logs is kept in `lines`."""

    def __init__(self, data_dir: Path, *arguments: str, port: int = 0, **settings: object) -> None:
        self.port = port
        self.lines: list[dict[str, Any]] = []
        self._arguments = arguments
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
        self._environment = inherited | {
            "ORCHESTRATOR_DATA_DIR": str(data_dir),
            "ORCHESTRATOR_LOG_FORMAT": "json",
            "ORCHESTRATOR_PORT": str(port),
            **{f"ORCHESTRATOR_{k.upper()}": str(v) for k, v in settings.items()},
        }
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread
        self._said = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start, and return once it serves."""
        self.lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *self._arguments],
            env=self._environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()
        self.port = int(self.said("serving", START_S)["port"])
        return self

    def said(self, event: str, within: float = 10.0) -> dict[str, Any]:
        """Return the first log line with this event, as soon as it is there."""
        deadline = time.monotonic() + within
        with self._said:
            while True:
                for line in self.lines:
                    if line.get("event") == event:
                        return line
                assert self._process is not None
                left = deadline - time.monotonic()
                if left <= 0 or (self._process.poll() is not None and not self._said.wait(0.2)):
                    raise AssertionError(f"no {event!r} within {within} s: {self.lines[-5:]}")
                self._said.wait(min(left, 0.5))

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._listener.join(10)

    def stop(self, within: float = 30.0) -> int:
        """End it with SIGTERM and return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._listener.join(10)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Send one request; return the status and the JSON answer."""
        status, text = self.call_text(method, path, body, **headers)
        return status, json.loads(text) if text else None

    def call_text(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ended(self, run_id: str, within: float = 60.0) -> dict[str, Any]:
        """Wait for a run's end and return it."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            status, run = self.call("GET", f"/api/v1/runs/{run_id}?wait=10")
            assert status == 200, run
            if run["status"] not in {"PENDING", "RUNNING"}:
                return dict(run)
        raise AssertionError(f"{run_id} has not ended within {within} s")

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for text in process.stderr:
                try:
                    line = json.loads(text)
                except ValueError:
                    line = {"event": text.rstrip()}
                with self._said:
                    self.lines.append(line)
                    self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()


@contextlib.contextmanager
def running(data_dir: Path, port: int = 0, **settings: object) -> Iterator[Program]:
    """Run the program for the length of a `with` block."""
    with Program(data_dir, port=port, **settings) as program:
        yield program


def refused(data_dir: Path, *arguments: str, **settings: object) -> str:
    """Start the program where it cannot run; return its one line."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
    environment |= {"ORCHESTRATOR_DATA_DIR": str(data_dir), "ORCHESTRATOR_PORT": "0"}
    environment |= {f"ORCHESTRATOR_{k.upper()}": str(v) for k, v in settings.items()}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env=environment | {"ORCHESTRATOR_LOG_LEVEL": "error"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    (line,) = lines
    return line
