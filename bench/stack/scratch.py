"""A folder for a measurement."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder(of: str) -> Iterator[Path]:
    """Give a folder that the database's user can pass through, and remove it."""
    made = Path(tempfile.mkdtemp(prefix=f"bench-{of}-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
