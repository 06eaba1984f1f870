"""The folder in which something started on this machine keeps its database and logs."""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import platformdirs

from orchestrator import resources
from orchestrator.demo.failure import DemoFailed


def home(kind: str) -> Path:
    """Return a folder of our own, kept between runs so that the next start is a warm one.

    It is named after the kind, the user, the program and its schema: another version has another
    one. Raise `DemoFailed` where none can be written to.
    """
    owner = 0 if sys.platform == "win32" else os.geteuid()
    digest = hashlib.sha256(f"{owner} {Path(__file__).resolve()}".encode())
    migrations = resources.folder("sql") / "migrations"
    for each in sorted(migrations.iterdir(), key=lambda file: file.name):
        digest.update(each.read_bytes())
    name = f"{kind}-{digest.hexdigest()[:12]}"
    failure: OSError | None = None
    for folder in _places(name):
        try:
            return own_folder(folder)
        except OSError as error:
            failure = error
    raise DemoFailed(f"there is no folder for its data that it may write to: {failure}")


def _places(name: str) -> list[Path]:
    if sys.platform != "win32" and os.geteuid() == 0:
        # The database runs as another user then, who cannot look into root's home.
        return [Path("/var/cache/orchestrator", name)]
    cache = platformdirs.user_cache_path("orchestrator", appauthor=False)
    return [cache / name, Path(tempfile.gettempdir(), f"orchestrator-{name}")]


def own_folder(folder: Path) -> Path:
    """Make a folder that is this user's, and that the database's user passes through."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "win32":
        if folder.stat().st_uid != os.geteuid():  # someone else's, in a folder for all
            raise PermissionError(f"{folder} belongs to another user")
        if os.geteuid() == 0:  # whatever the umask: the database's user passes through
            folder.parent.chmod(0o755)
            folder.chmod(0o755)
    return folder
