"""Secrets at rest: `auth_config` is sealed before it is stored, opened where a call needs it."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from orchestrator import json_text
from orchestrator.domain.errors import Misconfigured
from orchestrator.store.folder import make

KEY_FILE = "secret.key"


class Sealer:
    """Seals mappings with the first key; opens what any of the keys sealed."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take Fernet keys; raise `Misconfigured` unless there is one and all are valid."""
        if not keys:
            raise Misconfigured("ORCHESTRATOR_SECRET_KEYS: there is no key in it")
        self._fernet = MultiFernet([_fernet(key, n) for n, key in enumerate(keys, 1)])

    def seal(self, value: Mapping[str, Any]) -> bytes:
        """Encrypt `value`."""
        return self._fernet.encrypt(json_text.dump_bytes(value))

    def open(self, sealed: bytes) -> dict[str, Any]:
        """Decrypt what `seal` made; raise `Misconfigured` if none of the keys sealed it."""
        try:
            value: dict[str, Any] = json_text.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise Misconfigured(
                "a stored auth_config was sealed with a key that this process does not have:"
                " give all processes of this database the same ORCHESTRATOR_SECRET_KEYS (the key"
                f" of the process that sealed it: its setting, or {KEY_FILE} in its data folder)"
            ) from None
        return value


def load_sealer(secret_keys: str | None, folder: Path) -> Sealer:
    """Take the keys of the setting, comma-separated, else the key file in `folder`.

    The file is made, readable by its owner only, if it is missing. Raise `Misconfigured` for an
    invalid key and a file that cannot be made or read.
    """
    if secret_keys is not None:
        return Sealer([key.strip() for key in secret_keys.split(",") if key.strip()])
    file = folder / KEY_FILE
    try:
        key = _read_or_make(file)
    except OSError as error:
        raise Misconfigured(
            f"the key file {file} cannot be used ({error.strerror}): set ORCHESTRATOR_SECRET_KEYS,"
            " or ORCHESTRATOR_DATA_DIR to a folder that may be written"
        ) from error
    try:
        return Sealer([key])
    except Misconfigured:
        raise Misconfigured(
            f"the key file {file} holds no key: put the key back that sealed the stored"
            " auth_config, or remove the file if there is none"
        ) from None


def _read_or_make(file: Path) -> str:
    """Read the key; make one first if there is none. Processes that race end up with the same."""
    if not file.exists():
        make(file.parent)
        number, name = tempfile.mkstemp(dir=file.parent, prefix=f"{KEY_FILE}.")  # mode 0600
        fresh = Path(name)
        with os.fdopen(number, "wb") as out:
            out.write(Fernet.generate_key() + b"\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            file.hardlink_to(fresh)  # whole or not at all, and never over another's
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return file.read_text(encoding="ascii", errors="replace").strip()


def _fernet(key: str, number: int) -> Fernet:
    """Make a Fernet; an error tells the key by its place, not by its text."""
    try:
        return Fernet(key)
    except ValueError:
        raise Misconfigured(
            f"ORCHESTRATOR_SECRET_KEYS: key {number} is no Fernet key, which is 32 random bytes in"
            f" url-safe base64 (44 characters): make one with python -c 'from"
            " cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
        ) from None
