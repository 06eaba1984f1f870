"""A disk that is small enough to be filled: a tmpfs, for whoever may mount one."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.stack.failure import StackFailed


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Mount one for as long as the block lasts; raise `StackFailed` where that is not allowed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise StackFailed("a disk that can be filled needs root on Linux, to mount a tmpfs")
    folder = Path(tempfile.mkdtemp(prefix="bench-disk-"))
    options = f"size={megabytes}m,mode=0755"
    _run("mount", "-t", "tmpfs", "-o", options, "bench", str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))
        folder.rmdir()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise StackFailed(f"{command[0]}: {done.stderr.strip()}")
