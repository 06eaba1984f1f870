"""Runs every behaviour with every agent in every call mode: `make interop`.

Prints the matrix and writes it to docs/interop.md; the exit code is 1 if anything failed.
"""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import CallMode, Options
from tests.agents_under_test.registered import agent_at
from tests.integration.agents.conftest import MAX_ANSWER
from tests.interop.behaviours import BEHAVIOURS, SUBJECTS, Subject, not_offered

PAGE = Path(__file__).resolve().parents[2] / "docs/interop.md"
TIMEOUT = timedelta(seconds=2)
MODES = (CallMode.AUTO, CallMode.STREAM, CallMode.POLL, CallMode.WAIT)
LIMIT_S = 30.0

HEAD = """\
# Interoperability

What the client does with agents on the official SDKs, each in a process of its own. Made by
`make interop`, which runs every behaviour in every call mode (`auto`, `stream`, `poll`, `wait`);
`make test` runs those of `auto`.

✓ as it must be, in every mode; a number: a limit of the agent's SDK, or of the mode, explained
below; ✗ wrong.
The behaviours are in [`tests/interop/behaviours.py`](../tests/interop/behaviours.py).

"""


class Matrix:
    """The cells as they are found out, and the reasons that they refer to by number."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self._cells: dict[tuple[str, str], str] = {}
        self._reasons: dict[tuple[str, tuple[CallMode, ...]], int] = {}

    async def fill(self, subject: Subject) -> None:
        """Try everything with one agent."""
        with await asyncio.to_thread(subject.start, *subject.options) as process:
            async with A2AClient(max_answer_bytes=MAX_ANSWER, max_calls=64) as client:
                for behaviour in BEHAVIOURS:
                    cell = await self._cell(client, subject, behaviour, process.url)
                    self._cells[subject.name, behaviour] = cell
                    _say(f"{subject.name:28} {behaviour:16} {cell}")

    async def _cell(self, client: A2AClient, subject: Subject, behaviour: str, url: str) -> str:
        limits: dict[str, list[CallMode]] = {}
        wrong = []
        for mode in MODES:
            if why := not_offered(subject.name, behaviour, mode):
                limits.setdefault(why, []).append(mode)
            elif error := await _tried(client, behaviour, mode, url):
                wrong.append(f"{mode.value}: {error}")
        if wrong:
            self.failed += [f"{subject.name}, {behaviour}, {one}" for one in wrong]
            return "✗"
        numbers = [self._number(why, tuple(modes)) for why, modes in limits.items()]
        tried = len(MODES) > sum(len(modes) for modes in limits.values())
        return " ".join(["✓"] * tried + [f"({number})" for number in numbers])

    def _number(self, why: str, modes: tuple[CallMode, ...]) -> int:
        return self._reasons.setdefault((why, modes), len(self._reasons) + 1)

    def page(self) -> str:
        """Return the table, and what its numbers stand for."""
        names = [subject.name for subject in SUBJECTS]
        lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        for behaviour in BEHAVIOURS:
            cells = [self._cells[name, behaviour] for name in names]
            lines.append(f"| {behaviour} | {' | '.join(cells)} |")
        lines.append("")
        for (why, modes), number in self._reasons.items():
            where = "" if modes == MODES else f"`{'`, `'.join(modes)}`: "
            lines.append(f"- ({number}) {where}{why}")
        return "\n".join(lines) + "\n"


async def _tried(client: A2AClient, behaviour: str, mode: CallMode, url: str) -> str | None:
    """Return what is wrong; None if nothing is."""
    agent = agent_at(url, options=Options(call_mode=mode), timeout=TIMEOUT)
    try:
        async with asyncio.timeout(LIMIT_S):
            await BEHAVIOURS[behaviour](client, agent)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - whatever it is, it is told
        return f"{type(error).__name__}: {error}".splitlines()[0]
    except BaseException as error:
        if type(error).__module__.startswith("_pytest"):  # pytest.raises that saw no error
            return str(error)
        raise
    return None


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _main() -> int:
    matrix = Matrix()
    for subject in SUBJECTS:
        await matrix.fill(subject)
    page = HEAD + matrix.page()
    PAGE.write_text(page, encoding="utf-8")
    _say("\n".join([page, *matrix.failed]))
    return 1 if matrix.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
