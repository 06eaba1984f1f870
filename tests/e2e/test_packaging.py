"""The wheel, installed into a fresh environment, works from any folder; the sdist is complete."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
SOURCES = (
    "orchestrator",
    "sql",
    "config",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
)


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, sources: Path, into: Path) -> Path:
    """Build with this environment's setuptools, so that no network is needed."""
    into.mkdir(exist_ok=True)
    code = f"import sys; from setuptools import build_meta as b; b.build_{kind}(sys.argv[1])"
    run(sys.executable, "-c", code, into, cwd=sources)
    (built,) = into.iterdir()
    return built


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what a build needs, and put the spoils of an earlier build beside it."""
    copy = tmp_path_factory.mktemp("sources")
    no_caches = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, copy / name, ignore=no_caches)
        else:
            shutil.copy2(TOP / name, copy)
    stale = copy / "build" / "lib" / "orchestrator" / "removed_long_ago.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    return copy


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh environment's Python: the wheel in it, its dependencies from this one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    fresh = folder / "bin" / "python"
    installer: list[str | Path] = [sys.executable, "-m", "pip", "--python", fresh, "install"]
    run(*installer, "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    here = run(fresh, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    # A path in a .pth file comes after the environment's own, and its .pth files are not read.
    Path(here.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return fresh


def test_the_wheel_has_the_package_and_what_travels_with_it(wheel: Path) -> None:
    packed = names(wheel)

    expected = {
        str(path.relative_to(TOP))
        for path in (TOP / "orchestrator").rglob("*.py")
        if "__pycache__" not in path.parts
    }
    for folder in ("sql", "config"):
        files = [path for path in (TOP / folder).rglob("*") if path.is_file()]
        expected |= {f"orchestrator/_resources/{path.relative_to(TOP)}" for path in files}
    expected |= {"orchestrator/py.typed", "orchestrator/demo/sales.csv"}
    assert expected <= packed
    assert {name.split("/")[0] for name in packed} == {"orchestrator"}
    assert "orchestrator/removed_long_ago.py" not in packed


def test_the_source_distribution_builds_the_same_wheel(
    sources: Path, wheel: Path, tmp_path: Path
) -> None:
    sdist = build("sdist", sources, tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()

    again = build("wheel", unpacked, tmp_path / "again")

    assert names(again) == names(wheel)


def test_the_installed_program_finds_its_files_from_any_folder(
    python: Path, tmp_path: Path
) -> None:
    code = (
        "import orchestrator; from orchestrator import resources;"
        "print(orchestrator.__file__);"
        "[print(resources.folder(name)) for name in ('sql', 'config')]"
    )

    package, *folders = run(python, "-c", code, cwd=tmp_path).split()

    installed = Path(package).parent
    assert installed.is_relative_to(python.parent.parent)
    assert folders == [str(installed / "_resources" / name) for name in ("sql", "config")]


def test_the_installed_program_prints_the_specification(python: Path, tmp_path: Path) -> None:
    printed = run(python, "-m", "orchestrator", "openapi", cwd=tmp_path)

    assert json.loads(printed)["openapi"] == "3.1.0"


def test_the_installed_demo_runs_from_any_folder(python: Path, tmp_path: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="orch-installed-"))
    home.chmod(0o755)  # as root, the database's own user must get in

    output = run(python, "-m", "orchestrator", "demo", "--home", home, cwd=tmp_path)

    shutil.rmtree(home)
    assert f"The report is in {tmp_path / 'demo-output' / 'sales-report.md'}" in output
