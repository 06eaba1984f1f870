"""One process of the stack: how it is called, where its log is, and whether it lives."""

import asyncio
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stack import child
from bench.stack.failure import StackFailed

_TICK = 0.05


@dataclass(frozen=True, slots=True)
class Part:
    """A process that must not end by itself."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def check(self) -> None:
        """Raise `StackFailed`, with its last words, if it has ended."""
        code = self.process.poll()
        if code is not None:
            how = f"code {code}" if code >= 0 else f"signal {-code}"
            raise StackFailed(f"{self.name} ended with {how}\n{child.tail(self.log)}")

    async def first_line(self, within: float) -> str:
        """Return the line that a piped process announces itself with; `StackFailed` if none."""
        output = self.process.stdout
        assert output is not None  # noqa: S101 - it was started with pipes
        try:
            async with asyncio.timeout(within):
                line = await asyncio.to_thread(output.readline)
        except TimeoutError:
            line = b""
        if not line:
            self.check()
            raise StackFailed(f"{self.name} does not announce itself\n{child.tail(self.log)}")
        return line.decode().strip()


async def end_all(parts: Sequence[Part], within: float) -> None:
    """End processes at once, with SIGTERM and then SIGKILL; return when they are gone."""
    try:
        for part in parts:
            if part.process.poll() is None:
                part.process.terminate()
        async with asyncio.timeout(within):
            while any(part.process.poll() is None for part in parts):  # noqa: ASYNC110
                await asyncio.sleep(_TICK)
    except TimeoutError:
        pass
    finally:  # also when we are cancelled
        for part in parts:
            if part.process.poll() is None:
                part.process.kill()
            part.process.wait()
            for pipe in (part.process.stdin, part.process.stdout):
                if pipe is not None:
                    pipe.close()
