"""Proves that the simulation can fail: guards are taken away one by one, in a scratch copy.

`python -m tests.simulation.mutants` prints after how many histories each is found. Run by hand when
the engine's guards change; the last result stands in docs/simulation.md.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).with_name("mutants.toml")
_RUN = """
import json
from tests.simulation import runner
result = runner.run(range({first}, {first} + {seeds}))
said = result.failed[0].violations[0] if result.failed else ""
print(json.dumps([result.coverage.worlds, result.coverage.runs, said]))
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One guard less: in `file`, `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    slow: bool = False  # nothing is wrong without it, only slower


@dataclass(frozen=True, slots=True)
class Found:
    worlds: int
    runs: int
    said: str


def hunt(mutant: Mutant, seeds: int) -> Found:
    """Take the guard away in a copy, and run worlds there until one fails."""
    with tempfile.TemporaryDirectory(prefix="orch-mutant-") as name:
        folder = Path(name)
        for part in ("orchestrator", "sql", "tests/simulation"):
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        file = folder / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            raise LookupError(f"{mutant.name}: {text.count(mutant.old)} places in {mutant.file}")
        file.write_text(text.replace(mutant.old, mutant.new))
        done = subprocess.run(
            [sys.executable, "-c", _RUN.format(first=0, seeds=seeds)],
            cwd=folder,
            env={"PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["?"])[-1]
            return Found(0, 0, f"it does not even run: {last}")
        worlds, runs, said = json.loads(done.stdout.strip().splitlines()[-1])
        return Found(worlds, runs, re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "…", said)[:200])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("only", nargs="*", help="words of the names wanted")
    asked = parser.parse_args()
    survivors = 0
    for values in tomllib.loads(MUTANTS.read_text())["mutant"]:
        mutant = Mutant(**values)
        if not all(word in mutant.name for word in asked.only):
            continue
        found = hunt(mutant, asked.seeds)
        survivors += not found.said and not mutant.slow
        verdict = "found" if found.said else "only slower" if mutant.slow else "SURVIVES"
        after = f"{found.runs} histories in {found.worlds} worlds"
        print(f"{verdict} | {mutant.name} | {after} | {found.said}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
