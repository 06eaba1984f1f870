"""`python -m bench profile`: where the orchestrator's CPU goes under full load."""

import argparse
import asyncio
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import structlog
import uvloop

from bench.engine.failure import EngineFailed
from bench.engine.processes import Deployed, Variant, running
from bench.load import stub_agents
from bench.load.deployment import Deployment
from bench.load.executes import Executes
from bench.load.failure import LoadFailed
from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.stub_agents import StubAgents
from bench.stack import scratch
from bench.stack.failure import StackFailed

_WRONG_USE = 2
_INTERRUPTED = 130
_USERS = 256
_SETTLE_S = 3.0
_SHOWN = 25
_FRAME = re.compile(r"^(?P<what>\S+) \((?P<file>.+?)(:\d+)?\)$")
_OURS = re.compile(r"orchestrator/(\w+)(?:/|\.py)")
_PACKAGE = re.compile(r"site-packages/([\w.-]+?)(?:/|\.py|$)")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "profile",
        help="sample the orchestrator under full load",
        description="Run the orchestrator under a closed loop of 256 users on this machine, sample"
        " its stack with py-spy, and print where the CPU went: by layer, and by function. May need"
        " root, as any look into another process.",
    )
    parser.add_argument("--seconds", type=int, default=15, metavar="S", help="(%(default)s)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw a flame graph")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Profile as told; return the exit code."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # PostgreSQL's start
    try:
        stacks, per_s = uvloop.run(_profile(arguments.seconds, arguments.svg))
    except (EngineFailed, LoadFailed, StackFailed) as failure:
        sys.stderr.write(f"profile: {failure}\n")
        return _WRONG_USE
    except KeyboardInterrupt:
        sys.stderr.write("profile: interrupted\n")
        return _INTERRUPTED
    print(f"{per_s:.0f} runs/s meanwhile; shares of the samples in which the process worked")
    print("\n".join(lines(stacks)))
    return 0


async def _profile(seconds: int, svg: Path | None) -> tuple[list[str], float]:
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if spy is None:
        raise EngineFailed("py-spy is not installed: pip install 'agent-orchestrator[bench]'")
    async with AsyncExitStack() as exits:
        folder = exits.enter_context(scratch.folder("profile"))
        agents = await exits.enter_async_context(stub_agents.running(Plan((), 1.0)))
        deployed = await exits.enter_async_context(running(Variant("embedded"), folder / "it"))
        looks = 1 if svg is None else 2
        plan = Plan(deployed.urls, looks * (seconds + 2.0), warmup=_SETTLE_S, concurrency=_USERS)
        loading = asyncio.create_task(_load(plan, deployed, agents))
        await asyncio.sleep(_SETTLE_S)
        raw = folder / "stacks"
        await _sample(spy, deployed, seconds, "raw", raw)
        if svg is not None:
            await _sample(spy, deployed, seconds, "flamegraph", svg)
        return raw.read_text().splitlines(), await loading


async def _load(plan: Plan, deployed: Deployed, agents: StubAgents) -> float:
    async with (
        Executes(_USERS) as executes,
        aiohttp.ClientSession() as other,
        Deployment(other, *deployed.urls).three_steps(agents.urls) as workflow,
    ):
        load = Load(plan, executes, other, workflow, told_by_agents=True)
        agents.tell(load.tell)
        await load.run()
        agents.fall_silent()
    return load.samples.runs.ended_in(plan.window) / plan.window.seconds


async def _sample(spy: str, deployed: Deployed, seconds: int, form: str, file: Path) -> None:
    pid = str(deployed.orchestrators[0])
    options = ["--pid", pid, "--duration", str(seconds), "--rate", "200", "--full-filenames"]
    options += ["--format", form]
    process = await asyncio.create_subprocess_exec(
        *(spy, "record", *options, "--output", str(file)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode:
        raise EngineFailed(f"py-spy: {said.decode(errors='replace').strip()}")


def lines(stacks: Iterable[str]) -> list[str]:
    """Return the shares for a person, of stacks as py-spy writes them: frames;frames count."""
    layers: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack in stacks:
        frames, _, count = stack.rpartition(" ")
        if not frames or not count.isdigit():
            continue
        path = frames.split(";")
        layers[_layer(path)] += int(count)
        functions[_shown(path[-1])] += int(count)
    total = layers.total() or 1
    shown = ["", "by the innermost layer of ours (- beyond it: of which package the code is)"]
    shown += [f"{count / total:6.1%}  {name}" for name, count in layers.most_common(_SHOWN)]
    shown += ["", "by function, what it calls not counted"]
    shown += [f"{count / total:6.1%}  {name}" for name, count in functions.most_common(_SHOWN)]
    return shown


def _layer(path: list[str]) -> str:
    for frame in reversed(path):
        if ours := _OURS.search(_file(frame)):
            innermost = _PACKAGE.search(_file(path[-1]))
            return f"{ours[1]} - {innermost[1]}" if innermost else ours[1]
    package = _PACKAGE.search(_file(path[-1]))
    return f"(no layer) - {package[1] if package else 'python'}"


def _file(frame: str) -> str:
    found = _FRAME.match(frame)
    return found["file"] if found else frame


def _shown(frame: str) -> str:
    found = _FRAME.match(frame)
    if found is None:
        return frame
    return f"{found['what']} ({'/'.join(Path(found['file']).parts[-2:])})"
