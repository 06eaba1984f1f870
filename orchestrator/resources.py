"""Files that travel with the program: SQL, the default configuration.

In a checkout they lie at its top (`sql/`, `config/`); in an installed wheel beside this module.
"""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path


def folder(name: str) -> Traversable:
    """Return the folder `name` ("sql" or "config"); raise `FileNotFoundError` if it is missing."""
    installed = resources.files("orchestrator") / "_resources" / name
    if installed.is_dir():
        return installed
    checkout = Path(__file__).resolve().parent.parent / name
    if checkout.is_dir():
        return checkout
    raise FileNotFoundError(f"the program's {name}/ folder is missing: reinstall it")
