"""The data folder: of the embedded database, and of the key file."""

import os
from pathlib import Path


def make(folder: Path) -> None:
    """Make the folder and its missing parents, private; raise `OSError` if that fails.

    As root, others may pass through, whatever the umask, but not look around: the embedded
    database, which runs as somebody else, has a private folder of its own inside.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
