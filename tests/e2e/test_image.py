"""The Dockerfile's images, built and run step by step: there is no Docker where this is tested."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.fernet import Fernet

from tests.images import dockerfile
from tests.images.builder import Builder
from tests.images.container import Container
from tests.integration.conftest import Server

_CAN = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare") is not None

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (_CAN or os.environ.get("CI")), reason="layers and namespaces need root on Linux"
    ),
]

UID = "10001"
AGENTS = ("reader", "aggregator", "reporter")


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    with Builder() as made:
        yield made


def test_only_what_the_build_needs_reaches_it(tmp_path: Path) -> None:
    shutil.copy(dockerfile.TOP / ".dockerignore", tmp_path)
    caches = ("orchestrator/__pycache__/x.pyc", "orchestrator/api/__pycache__/x.pyc")
    wanted = {"orchestrator/api/app.py", "sql/x.sql", "setup.py"}
    for name in (*wanted, *caches, ".env", "tests/test_x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    reached = {str(path) for path in dockerfile.context(tmp_path)}

    assert reached == wanted


def test_what_is_built_without_a_name_is_the_orchestrator() -> None:
    assert dockerfile.stages()[-1].name == "orchestrator"


def test_the_bases_are_one_exact_version() -> None:
    bases = {stage.base for stage in dockerfile.stages() if ":" in stage.base}

    (base,) = bases
    assert base.startswith("python:3.")
    assert base.removeprefix("python:").split("-")[0].count(".") == 2


@pytest.mark.parametrize("target", ["orchestrator", "demo"])
def test_nothing_in_an_image_installs_or_builds(builder: Builder, target: str) -> None:
    builder.build(target)
    root = builder.root(target)

    for python in ("/usr/local/bin/python", "/app/bin/python"):
        code = "import importlib.util as i, sys; print([n for n in sys.argv[1:] if i.find_spec(n)])"
        found = builder.call("chroot", root, python, "-c", code, "pip", "setuptools", "wheel")
        assert found.strip() == "[]", python
    writable = builder.call("find", root / "app", "-perm", "/022", "-not", "-type", "l")
    assert writable == ""


def test_it_works_as_an_ordinary_user_with_only_its_volume_to_write(builder: Builder) -> None:
    image = builder.build("orchestrator")
    volume = builder.volume("orchestrator", "/data", "data")

    with Container(builder, image, volumes={"/data": volume}) as first:
        first.wait_until_healthy()
        state = Path(f"/proc/{first.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in state.splitlines())
        assert lines["Uid"].split() == [UID] * 4
        assert lines["Groups"].split() == []
        assert int(lines["CapEff"], 16) == 0
        assert lines["NoNewPrivs"].strip() == "1"
        assert lines["NSpid"].split()[-1] == "1"
        refused = first.run("/usr/bin/touch", "/app/x", "/etc/x", "/x", "/home/x")
        assert refused.stderr.count("Read-only file system") == 4
        assert first.call("GET", "/health/ready")[0] == 200
        status, _ = first.call("POST", "/api/v1/agents", {"name": "a", "url": "http://127.0.0.1"})
        assert status == 201
        assert first.check_health(ORCHESTRATOR_PORT="1").returncode != 0
        assert first.check_health(http_proxy="http://127.0.0.1:1").returncode == 0
        assert first.stop() == 0
        assert '"event": "stopped"' in first.output()

    with Container(builder, image, volumes={"/data": volume}) as second:
        second.wait_until_healthy()
        assert second.call("GET", "/api/v1/agents?name=a")[1]["total"] == 1
        assert second.stop() == 0


def test_a_volume_that_is_only_its_groups_will_do(builder: Builder) -> None:
    # As Kubernetes mounts one with `fsGroup`.
    volume = builder.volume("orchestrator", "/data", "group")
    builder.call("chown", f"0:{UID}", volume)
    builder.call("chmod", "2770", volume)

    with Container(builder, builder.build("orchestrator"), volumes={"/data": volume}) as container:
        container.wait_until_healthy()
        assert container.stop() == 0


def test_without_a_volume_to_write_it_says_so_in_one_line(builder: Builder) -> None:
    with Container(builder, builder.build("orchestrator")) as container:
        assert container.process.wait(60) == 2
        said = container.output().splitlines()

    assert "/data" in said[-1]
    assert "ORCHESTRATOR_DATA_DIR" in said[-1]


def test_on_a_database_elsewhere_it_writes_nothing_at_all(
    builder: Builder, server: Server, dsn: str
) -> None:
    image = builder.build("orchestrator")
    url = dsn.replace(str(server.folder), "/mnt")
    keys = Fernet.generate_key().decode()
    settings = {"ORCHESTRATOR_DATABASE_URL": url, "ORCHESTRATOR_SECRET_KEYS": keys}
    server.folder.chmod(0o711)  # the image's user must get to the socket

    with Container(builder, image, volumes={"/mnt": server.folder}, settings=settings) as container:
        container.wait_until_healthy()
        assert container.call("GET", "/health/ready")[0] == 200
        assert container.run("/usr/bin/find", "/tmp", "-mindepth", "1").stdout == ""  # noqa: S108
        assert container.stop() == 0


def test_other_commands_are_arguments_of_the_entry_point(builder: Builder) -> None:
    with Container(builder, builder.build("orchestrator"), ["openapi"]) as container:
        said = container.output()  # more than a pipe holds: read before it is waited for

        assert container.process.returncode == 0
        assert said.startswith('{"openapi"')


def test_the_demo_runs_with_the_commands_of_compose(builder: Builder) -> None:
    # They share one network here, where compose gives each its own: each has its own address.
    services = yaml.safe_load((dockerfile.TOP / "compose.yaml").read_text())["services"]
    agents = {f"demo-{name}": f"127.0.0.{n}" for n, name in enumerate(AGENTS, 2)}
    names = {"orchestrator-1": "127.0.0.1", **agents}
    hosts = builder.volume("demo", "/etc/hosts", "hosts")
    builder.path("volumes", "hosts").write_text(
        "".join(f"{address} {name}\n" for name, address in names.items())
    )
    output = builder.volume("demo", "/output", "output")
    volumes = {"/etc/hosts": hosts, "/output": output}
    demo, image = builder.build("demo"), builder.build("orchestrator")

    with contextlib.ExitStack() as stack:
        data = {"/data": builder.volume("orchestrator", "/data", "demo-data"), "/etc/hosts": hosts}
        server = stack.enter_context(Container(builder, image, volumes=data))
        server.wait_until_healthy()

        def start(name: str, address: str) -> Container:
            command = [w.replace("0.0.0.0", address) for w in services[name]["command"]]  # noqa: S104
            return stack.enter_context(
                Container(builder, demo, command, volumes=volumes, network_of=server)
            )

        serving = {name: start(name, address) for name, address in agents.items()}
        for name, agent in serving.items():
            _, *check = services[name]["healthcheck"]["test"]
            agent.wait_until_healthy([w.replace("127.0.0.1", agents[name]) for w in check])
        guided = start("demo", "")
        assert guided.process.wait(60) == 0, guided.output()
        assert "The report is in /output/sales-report.md" in guided.output()
        assert [agent.stop() for agent in serving.values()] == [0, 0, 0]

    report = builder.path("volumes", "output", "sales-report.md")
    assert "238 rows" in report.read_text()
    assert report.stat().st_uid == int(UID)
