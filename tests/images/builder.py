"""Builds and runs the Dockerfile's images without Docker, as layers over this machine's own files.

What stands in for the base image is this machine's system with the Python of the Dockerfile's
version in /usr/local, and no compiler. Everything lies in a mount namespace, in memory: it is gone
when the namespace is. Needs root on Linux.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.images import dockerfile
from tests.images.dockerfile import TOP, Stage, Step

_SYSTEM = {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc"}
_COMPILERS = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|cpp|c[89]9|clang|ld|as|make|rustc|cargo)\b.*")
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
_FOR_CONTAINERS = {
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "USER", "VOLUME",
}  # fmt: skip
_OPAQUE = "trusted.overlay.opaque"
_SIZE = "size=6g"
_HOLD = 'mount -t tmpfs -o "$2" image "$1" && echo ready && exec cat'
_RUN = """
set -eu
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
shift
exec chroot "$@"
"""


class Builder:
    """`with Builder() as builder`: the namespace, the base image in it, and each stage built."""

    def __init__(self) -> None:
        self._mount_point = Path(tempfile.mkdtemp(prefix="orch-image-"))
        self._built: dict[str, Stage] = {}
        command = ["unshare", "--mount", "--propagation", "private"]
        self._holder = subprocess.Popen(
            [*command, "sh", "-c", _HOLD, "sh", str(self._mount_point), _SIZE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    def __enter__(self) -> Self:
        self._make_base()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()
        self._mount_point.rmdir()

    def inside(self, *command: str | Path) -> list[str]:
        """Return the command line that runs `command` in the namespace."""
        namespace = f"--mount=/proc/{self._holder.pid}/ns/mnt"
        return ["nsenter", namespace, "--", *map(str, command)]

    def path(self, *parts: str) -> Path:
        """Return a path of the namespace as processes outside it can use it."""
        return Path(f"/proc/{self._holder.pid}/root{self._mount_point}", *parts)

    def root(self, stage: str) -> Path:
        """Return where a stage's files are, as processes in the namespace name it."""
        return self._mount_point / stage / "root"

    def call(self, *command: str | Path) -> str:
        done = subprocess.run(self.inside(*command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-4000:])
        return done.stdout

    # -- the base ---------------------------------------------------------------------------------

    def _make_base(self) -> None:
        """Hide from this machine's files all that a slim base image does not have."""
        base = self.path("base", "up")
        base.mkdir(parents=True)
        for top in Path("/").iterdir():
            if top.is_dir() and not top.is_symlink() and top.name not in _SYSTEM:
                _opaque(base / top.name)
        (base / "var" / "tmp").mkdir()
        for place in (base / "tmp", base / "var" / "tmp"):
            place.chmod(0o1777)
        (base / "etc").mkdir()
        for name in ("resolv.conf", "hosts"):  # which may be mounts of their own
            shutil.copy(Path("/etc", name), base / "etc")
        (base / "usr" / "bin").mkdir(parents=True)
        for file in Path("/usr/bin").iterdir():
            if _COMPILERS.fullmatch(file.name):
                os.mknod(base / "usr" / "bin" / file.name, stat.S_IFCHR, os.makedev(0, 0))
        _opaque(base / "usr" / "local")
        ignored = shutil.ignore_patterns("test", "__pycache__", "idlelib", "*.a")
        local = base / "usr" / "local"
        shutil.copytree(_python(), local, symlinks=True, ignore=ignored, dirs_exist_ok=True)

    # -- the stages -------------------------------------------------------------------------------

    def build(self, target: str) -> Stage:
        """Carry out the steps of `target` and of all it needs; return it with what it inherits."""
        if target in self._built:
            return self._built[target]
        stage = next(each for each in dockerfile.stages() if each.name == target)
        parent = "base" if ":" in stage.base else stage.base
        inherited = [] if parent == "base" else self.build(parent).steps
        lower = self._lower(parent)
        for folder in ("up", "work", "root"):
            self.path(target, folder).mkdir(parents=True)
        place = self._mount_point / target
        options = f"lowerdir={lower},upperdir={place / 'up'},workdir={place / 'work'}"
        self.call("mount", "-t", "overlay", "overlay", "-o", options, place / "root")
        if parent == "base":
            self.call("chroot", place / "root", "ldconfig")
        done = list(inherited)
        for step in stage.steps:
            self._carry_out(step, target, done)
            done.append(step)
        self.call("umount", place / "root")
        self.path(target, "lower").write_text(f"{place / 'up'}:{lower}")
        # From here on it is only read: by COPY --from, and by the containers.
        options = f"lowerdir={self.lower(target)}"
        self.call("mount", "-t", "overlay", "overlay", "-o", options, place / "root")
        self._built[target] = Stage(target, stage.base, done)
        return self._built[target]

    def volume(self, target: str, folder: str, name: str) -> Path:
        """Make a named volume as Docker does: content, owner and mode are those of the image."""
        self.build(target)
        place = self._mount_point / "volumes" / name
        self.path("volumes").mkdir(exist_ok=True)
        self.call("cp", "-a", self.root(target) / folder.lstrip("/"), place)
        return place

    def lower(self, stage: str) -> str:
        """Return the stage's layers, as the option of an overlay names them."""
        return self.path(stage, "lower").read_text()

    def _lower(self, parent: str) -> str:
        return f"{self._mount_point / 'base' / 'up'}:/" if parent == "base" else self.lower(parent)

    def _carry_out(self, step: Step, target: str, before: Sequence[Step]) -> None:
        root = self.path(target, "root")
        match step.instruction:
            case "RUN":
                self._run(step, target, before)
            case "COPY":
                self._copy(step, target, _last(before, "WORKDIR", "/"))
            case "WORKDIR":
                (root / step.value.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case _ if step.instruction in _FOR_CONTAINERS:
                pass
            case other:
                raise AssertionError(f"this builder does not know {other}")

    def _run(self, step: Step, target: str, before: Sequence[Step]) -> None:
        # Where packages come from is the machine's business, as it is with Docker.
        given = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_CERT_"))}
        settings = {"PATH": _PATH, "HOME": "/root", **given, **environment(before)}
        place = self._mount_point / target / "root"
        self.call(
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _RUN, "sh",
            place, f"--userspec={_last(before, 'USER', '0:0')}", place,
            "env", "-i", f"--chdir={_last(before, 'WORKDIR', '/')}",
            *(f"{k}={v}" for k, v in settings.items()), "/bin/sh", "-c", step.value,
        )  # fmt: skip

    def _copy(self, step: Step, target: str, workdir: str) -> None:
        *sources, into = [word for word in step.words if not word.startswith("--")]
        to = self.path(target, "root") / Path(workdir, into).relative_to("/")
        if stage := step.flags.get("from"):
            self.build(stage)
            tree = self.path(stage, "root")
            for source in sources:
                shutil.copytree(tree / source.lstrip("/"), to, symlinks=True)
            return
        files = list(dockerfile.context())
        for source in sources:
            chosen = [file for file in files if file.is_relative_to(source)]
            assert chosen, f"COPY {source}: .dockerignore leaves nothing of it"
            for file in chosen:
                place = to / (file.name if str(file) == source else file.relative_to(source))
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(TOP / file, place)


def environment(steps: Sequence[Step]) -> dict[str, str]:
    """Return what the steps' ENV say."""
    words = [word for step in steps if step.instruction == "ENV" for word in step.words]
    return dict(word.split("=", 1) for word in words)


def _last(steps: Sequence[Step], instruction: str, default: str) -> str:
    return next((s.value for s in reversed(steps) if s.instruction == instruction), default)


def _opaque(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.setxattr(folder, _OPAQUE, b"y")


def _python() -> Path:
    """Return the installation of the Dockerfile's Python, or of the one that runs the tests."""
    wanted = next(s.base for s in dockerfile.stages() if s.base.startswith("python:"))
    version = ".".join(wanted.removeprefix("python:").split(".")[:2])
    running = Path(sys.base_prefix)
    beside = sorted(running.parent.glob(f"{version}.*"))
    found = beside[-1] if beside else running
    assert found != Path("/usr"), "a Python in a folder of its own is needed"
    return found


def command_of(stage: Stage, arguments: Sequence[str] | None = None) -> list[str]:
    """Return what a container of the image starts: its entry point, and arguments or CMD."""
    entry, cmd = stage.last("ENTRYPOINT"), stage.last("CMD")
    given = arguments if arguments is not None else cmd.command if cmd else []
    return [*(entry.command if entry else []), *given]


def run_settings(stage: Stage, extra: Mapping[str, str]) -> dict[str, str]:
    """Return a container's environment."""
    return {"PATH": _PATH, **environment(stage.steps), **extra}
