"""Reads the Dockerfile and .dockerignore as far as this project's own use their language."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

TOP = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction and its text."""

    instruction: str
    value: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.value)

    @property
    def flags(self) -> dict[str, str]:
        pairs = (word[2:].partition("=") for word in self.words if word.startswith("--"))
        return {name: value for name, _, value in pairs}

    @property
    def command(self) -> list[str]:
        """The exec form: the JSON array that the text ends with."""
        command: list[str] = json.loads(self.value[self.value.index("[") :])
        return command


@dataclass(slots=True)
class Stage:
    """What stands between one FROM and the next."""

    name: str
    base: str
    steps: list[Step] = field(default_factory=list)

    def last(self, instruction: str) -> Step | None:
        return next((s for s in reversed(self.steps) if s.instruction == instruction), None)


def stages(file: Path = TOP / "Dockerfile") -> list[Stage]:
    """Return the stages in order; the last is what is built unless a target is named."""
    found: list[Stage] = []
    for line in DockerfileParser(path=str(file)).structure:
        step = Step(line["instruction"], line["value"])
        if step.instruction == "FROM":
            base, _, name = step.words
            found.append(Stage(name, base))
        elif step.instruction != "COMMENT":
            found[-1].steps.append(step)
    return found


def context(folder: Path = TOP) -> Iterator[Path]:
    """Yield the files that reach a build: what .dockerignore leaves, relative to `folder`."""
    lines = (folder / ".dockerignore").read_text().splitlines()
    rules = [
        (not line.startswith("!"), _pattern(line.removeprefix("!")))
        for line in lines
        if line and not line.startswith("#")
    ]
    tops = [top for top in folder.iterdir() if not _ignored(top.relative_to(folder), rules)]
    for top in tops:
        for path in (top, *top.rglob("*")):
            if path.is_file() and not _ignored(path.relative_to(folder), rules):
                yield path.relative_to(folder)


def _pattern(rule: str) -> re.Pattern[str]:
    translated = re.escape(rule).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.compile(translated)


def _ignored(path: Path, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """Whether the last rule that matches the path, or a folder it lies in, excludes it."""
    names = [str(path), *(str(parent) for parent in path.parents[:-1])]
    ignored = False
    for excludes, pattern in rules:
        if any(pattern.fullmatch(name) for name in names):
            ignored = excludes
    return ignored
