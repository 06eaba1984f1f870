"""Proves that the tests can fail: guards of the SQL are taken away one by one, in a scratch copy.

`python -m tests.integration.store.guards` prints which test misses each. Run by hand when the SQL's
guards change; the last result stands in docs/guarantees.md. The engine's guards are taken away by
tests/simulation/mutants.py, with the same kind of list.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
GUARDS = Path(__file__).with_name("guards.toml")
_PARTS = ("orchestrator", "sql", "tests", "bench", "config")
_FAILED = re.compile(r"^FAILED \S*/(.+?)(?: - |$)", re.MULTILINE)
# Before these tests take guards away themselves, they insist that they are there: not in the copy.
_INSISTS = ("tests/integration/store/test_fence.py", "    assert WRITE.count(guard) == 1\n")


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard: in `file`, `old` becomes `new`; one of `tests` must fail then.

    `spared` says why nothing fails: another guard does the same, or it is there for speed alone.
    """

    name: str
    file: str
    old: str
    new: str
    tests: list[str]
    spared: str = ""


def missed(guard: Guard) -> str | None:
    """Return the test that fails without the guard; None if all pass."""
    with tempfile.TemporaryDirectory(prefix="orch-guard-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the database's user passes through
        for part in _PARTS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)
        file = folder / guard.file
        text = file.read_text()
        if text.count(guard.old) != 1:
            raise LookupError(f"{guard.name}: {text.count(guard.old)} places in {guard.file}")
        file.write_text(text.replace(guard.old, guard.new))
        insisting = folder / _INSISTS[0]
        insisting.write_text(insisting.read_text().replace(_INSISTS[1], ""))
        tests = [f"tests/integration/{each}" for each in guard.tests]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return None
    found = _FAILED.search(done.stdout)
    if done.returncode != 1 or found is None:
        raise RuntimeError(f"{guard.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the names wanted")
    asked = parser.parse_args()
    survivors = 0
    for values in tomllib.loads(GUARDS.read_text())["guard"]:
        guard = Guard(**values)
        if not all(word in guard.name for word in asked.only):
            continue
        test = missed(guard)
        survivors += test is None and not guard.spared
        verdict = test or (f"spared: {guard.spared}" if guard.spared else "SURVIVES")
        print(f"{guard.name} | {verdict}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
