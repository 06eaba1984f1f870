"""What the snippets find: agents under the guide's names, seeded rows, a shell with curl and jq."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg

from tests.e2e import guide
from tests.integration.conftest import in_thread

HOSTS = ("my-agent", "data-processor", "extractor", "transformer", "validator", "test")

# In the orchestrator's process the guide's host names are ours. Whatever client it uses asks the
# event loop, and asyncio's own loop (unlike uvloop's) asks this function.
RESOLVER = """
import asyncio, json, os, socket
try:
    import uvloop
    uvloop.run = asyncio.run
except ImportError:
    pass
_ports = json.loads(os.environ["TEST_HOSTS"])
_asked = socket.getaddrinfo
def getaddrinfo(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name in _ports:
        host, port = "127.0.0.1", _ports[name]
    return _asked(host, port, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
"""

_STEPS = {
    "extract": {
        "id": "extract",
        "agent_name": "DataExtractorAgent",
        "next_step": "transform",
        "input_mapping": {"source": "${workflow.input.source:-none}"},
    },
    "transform": {
        "id": "transform",
        "agent_name": "DataTransformerAgent",
        "next_step": None,
        "input_mapping": {"data": "${extract.output.data}"},
    },
}


class Agent(ThreadingHTTPServer):
    """An A2A 0.3 agent with no card, which answers at once, or (for "large" input) when let go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.let_go = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Exchange(BaseHTTPRequestHandler):
    server: Agent
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "large" in json.dumps(request):
            self.server.let_go.wait(60)
        output = {"data": [1, 2, 3], "record_count": 3, "validated_data": [1, 2, 3]}
        message = {
            "kind": "message",
            "role": "agent",
            "messageId": "answer",
            "parts": [{"kind": "data", "data": output}],
        }
        self._answer(200, {"jsonrpc": "2.0", "id": request["id"], "result": message})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass


@contextmanager
def agents() -> Iterator[Mapping[str, Agent]]:
    """Run one agent for each host name of the guide."""
    running = {host: Agent() for host in HOSTS}
    yield running
    for agent in running.values():
        agent.let_go.set()
        agent.shutdown()
        agent.server_close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a script did: its exit code, its output, and the status of every request."""

    code: int
    output: str
    statuses: list[int]


class Shell:
    """Runs scripts in a folder of their own; `localhost:8000` is the program's port."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        tools = folder / "bin"
        tools.mkdir()
        # Scripts wait by the clock; here what they wait for is fast.
        _tool(tools / "sleep", 'exec "$REAL_SLEEP" 0.2')
        # Present where clients are generated (`make clients`); here it looks at what it is given.
        _tool(tools / "openapi-generator-cli", '[ "$1" = generate ] && jq -e .openapi "$3"')
        (folder / ".curlrc").write_text(
            f'connect-to = "localhost:{guide.PORT}:127.0.0.1:{port}"\n'
            'write-out = "%{stderr}STATUS %{http_code}\\n"\nmax-time = 30\n'
        )
        agent = {"name": "from-a-file", "url": "http://test:8080"}
        (folder / "agent.json").write_text(json.dumps(agent))
        sleep = next(p for p in ("/bin/sleep", "/usr/bin/sleep") if Path(p).exists())
        self._environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CURL_HOME": str(folder),
            "REAL_SLEEP": sleep,
            # What snippets take from those before them.
            "WORKFLOW_ID": guide.WORKFLOW_ID,
            "RUN_ID": guide.RUN_ID,
        }

    def run(self, script: str) -> Outcome:
        """Run a script with bash, as it is."""
        done = subprocess.run(
            ["bash", "-c", script],  # noqa: S607 - whichever bash there is
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        statuses = [int(n) for n in re.findall(r"^STATUS (\d+)$", done.stderr, re.MULTILINE)]
        return Outcome(done.returncode, done.stdout, statuses)


def _tool(file: Path, line: str) -> None:
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)


def clear(dsn: str) -> None:
    """Forget all that scripts have made."""
    in_thread(_execute(dsn, _CLEAR))


def seed(dsn: str, run_status: str = "FAILED", *, agents_too: bool = True) -> None:
    """Make the guide's agent, workflow and run, and the agents that the workflow needs.

    A run that has not ended is one whose agent does not answer before it is let go.
    """
    in_thread(_seed(dsn, run_status, agents_too=agents_too))


async def _execute(dsn: str, statement: str, *values: object) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(statement, *values)
    finally:
        await conn.close()


async def _seed(dsn: str, run_status: str, *, agents_too: bool) -> None:
    data = json.dumps({"start_step": "extract", "steps": _STEPS})
    named = [(guide.AGENT_ID, "seeded-agent", "http://data-processor:8080")]
    if agents_too:
        named += [
            (f"{n}23e4567-e89b-12d3-a456-426614174000", name, f"http://{host}:8080")
            for n, name, host in (
                (2, "DataExtractorAgent", "extractor"),
                (3, "DataTransformerAgent", "transformer"),
                (4, "DataValidatorAgent", "validator"),
            )
        ]
    for agent_id, name, url in named:
        await _execute(dsn, _AGENT, agent_id, name, url)
    await _execute(dsn, _WORKFLOW, guide.WORKFLOW_ID, data)
    run_id = guide.RUN_ID.removeprefix("run-")
    await _execute(dsn, _RUN, run_id, guide.WORKFLOW_ID, run_status)
    await _execute(dsn, _EVENT, run_id)
    if run_status == "FAILED":
        await _execute(dsn, _STEP, run_id)


_CLEAR = """
TRUNCATE agent, workflow, run, step_execution, run_event, task_cancellation, idempotency
"""
_AGENT = """
INSERT INTO agent VALUES ($1, $2, $3, NULL, 'none', NULL, 30000, 0, 100, 1000, 2.0, 'active',
  clock_timestamp(), clock_timestamp())
"""
_WORKFLOW = """
INSERT INTO workflow VALUES ($1, $1, 1, 'wf-data-pipeline-001', 'seeded-pipeline', NULL, $2,
  'active',
  clock_timestamp(), clock_timestamp())
"""
_RUN = """
INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key, workflow_name, status,
  seq, input, error_message, created_at, updated_at, completed_at)
VALUES ($1, 0, $2, 1, 'wf-data-pipeline-001', 'seeded-pipeline', $3::text, 1,
  CASE WHEN $3 = 'PENDING' THEN '{"source": "large"}' ELSE '{"source": "seed"}' END::json,
  CASE WHEN $3 = 'FAILED' THEN 'Step ''extract'' failed: Connection timeout' END,
  clock_timestamp(), clock_timestamp(),
  CASE WHEN $3 IN ('COMPLETED', 'FAILED') THEN clock_timestamp() END)
"""
_EVENT = """
INSERT INTO run_event (run_id, seq, epoch, events) VALUES ($1, 1, 0, '[{"kind": "RunCreated"}]')
"""
_STEP = """
INSERT INTO step_execution (run_id, path, position, agent_name, status, attempt, message_no, input,
  error_message, started_at, completed_at)
VALUES ($1, 'extract', 0, 'DataExtractorAgent', 'FAILED', 1, 1, '{"source": "seed"}',
  'Connection timeout', clock_timestamp(), clock_timestamp())
"""
