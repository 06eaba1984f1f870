"""Starts test agents in processes of their own, and asks them what reached them."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SDK1 = ROOT / ".venvs/a2a1/bin/python"
SDK03 = ROOT / ".venvs/a2a03/bin/python"
SDK025 = ROOT / ".venvs/a2a025/bin/python"
JS1, JS03 = ROOT / ".cache/a2a-js1", ROOT / ".cache/a2a-js03"
START_S = 60.0  # importing an SDK takes seconds on a busy machine


@dataclass(slots=True)
class AgentProcess:
    """A running test agent; it ends with the `with` block, and with the process that started it."""

    url: str
    port: int
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        """Return the JSON that the agent answers at `path`."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def sdk1(*options: str) -> AgentProcess:
    """Start an agent on the official SDK 1.x (`sdk1_agent.py`)."""
    return start(SDK1, "sdk1_agent.py", *options)


def sdk03(*options: str) -> AgentProcess:
    """Start an agent on the official SDK 0.3 (`sdk03_agent.py`)."""
    return start(SDK03, "sdk03_agent.py", *options)


def sdk025(*options: str) -> AgentProcess:
    """Start an agent on the official SDK 0.2.5 (`sdk025_agent.py`)."""
    return start(SDK025, "sdk025_agent.py", *options)


def sdkjs1(*options: str) -> AgentProcess:
    """Start an agent on the official JavaScript SDK 1.x (`sdkjs1_agent.mjs`)."""
    return _start_node(JS1, "sdkjs1_agent.mjs", *options)


def sdkjs03(*options: str) -> AgentProcess:
    """Start an agent on the official JavaScript SDK 0.3 (`sdkjs03_agent.mjs`)."""
    return _start_node(JS03, "sdkjs03_agent.mjs", *options)


def recording(*options: str) -> AgentProcess:
    """Start the recording agent (`recording_agent.py`)."""
    return start(Path(sys.executable), "recording_agent.py", *options)


def start(python: Path, script: str, *options: str) -> AgentProcess:
    """Start `script` and return once it listens."""
    assert python.exists(), f"{python} is missing: run scripts/test-machine"
    return _started(python, HERE / script, *options)


def _start_node(folder: Path, script: str, *options: str) -> AgentProcess:
    """Start a script beside the modules that it imports, since node looks for them there."""
    node = shutil.which("node")
    assert node is not None, "node is missing: run scripts/test-machine"
    assert (folder / "node_modules").exists(), f"{folder} is missing: run scripts/test-machine"
    for name in (script, "serving.mjs"):
        own = folder / f"{name}.{os.getpid()}"  # whole or not at all, for a start beside this one
        shutil.copyfile(HERE / name, own)
        own.replace(folder / name)
    return _started(node, folder / script, *options)


def _started(*command: str | Path) -> AgentProcess:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    port = json.loads(_line(process))["port"]
    return AgentProcess(f"http://127.0.0.1:{port}", port, process)


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    line = b""
    deadline = time.monotonic() + START_S
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        ready, _, _ = select.select([process.stdout], [], [], max(left, 0))
        read = os.read(process.stdout.fileno(), 4096) if ready else b""
        assert read, f"the agent did not start (exit code {process.poll()})"
        line += read
    return line
