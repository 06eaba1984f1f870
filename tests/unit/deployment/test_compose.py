"""compose.yaml: what no schema knows. That it fits the schema, `make check` sees to."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from orchestrator.api.deps import VERSION
from orchestrator.settings import PREFIX, Settings
from tests.images import dockerfile

TOP = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((TOP / "compose.yaml").read_text())
SERVICES: Mapping[str, dict[str, Any]] = COMPOSE["services"]
ORCHESTRATORS = [name for name in SERVICES if name.startswith("orchestrator-")]
HANDOVER_S = 3  # what calls in flight get when a partition is handed over
VARIABLE = re.compile(r"\$\{(\w+)(?::\?([^}]*))?\}")


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


def test_there_are_two_orchestrators_on_one_database_one_kafka_and_the_same_keys() -> None:
    assert len(ORCHESTRATORS) == 2
    first, second = (dict(SERVICES[name]) for name in ORCHESTRATORS)
    assert first.pop("ports") != second.pop("ports")
    assert first == second
    for needed in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "SECRET_KEYS"):
        assert PREFIX + needed in first["environment"]


@pytest.mark.parametrize("name", ORCHESTRATORS)
def test_what_an_orchestrator_is_given_are_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, VARIABLE.sub("secret", value))

    settings = Settings()

    assert {v.removeprefix(PREFIX).lower() for v in SERVICES[name]["environment"]} <= set(
        Settings.model_fields
    )
    stop = seconds(SERVICES[name]["stop_grace_period"])
    assert stop > settings.shutdown_grace_s + HANDOVER_S + 10


def test_no_secret_has_a_default_and_each_that_lacks_says_where_to_look() -> None:
    readme = (TOP / "README.md").read_text()
    given = VARIABLE.findall((TOP / "compose.yaml").read_text())

    assert {name for name, _ in given} == {
        "GRAFANA_PASSWORD", "ORCHESTRATOR_SECRET_KEYS", "POSTGRES_PASSWORD"
    }  # fmt: skip
    for _, message in given:
        heading = re.fullmatch(r'see "(.+)" in README.md', message)
        assert heading
        assert f"## {heading[1]}\n" in readme


def test_the_readmes_recipe_makes_each_secret(tmp_path: Path) -> None:
    _, _, after = (TOP / "README.md").read_text().partition("<!-- secrets: ")
    block = re.search(r"```bash\n(.*?)```", after, re.DOTALL)
    assert block

    subprocess.run(["/bin/sh", "-euc", block[1]], cwd=tmp_path, check=True)

    file = tmp_path / ".env"
    made = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert set(made) == {name for name, _ in VARIABLE.findall((TOP / "compose.yaml").read_text())}
    Fernet(made["ORCHESTRATOR_SECRET_KEYS"])
    for name in ("POSTGRES_PASSWORD", "GRAFANA_PASSWORD"):
        assert re.fullmatch(r"[\w-]{43}", made[name])  # stands in a URL as it is
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_with_the_secrets_is_never_committed() -> None:
    assert ".env" in (TOP / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) is (name != "kafka")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_ours_or_pinned_by_its_exact_version(name: str) -> None:
    service = SERVICES[name]
    targets = {stage.name for stage in dockerfile.stages()}

    if "build" in service:
        assert service["build"]["target"] in targets
        assert service["image"].endswith(f":{VERSION}")
    else:
        tag = service["image"].partition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-\w+)?", tag)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_only_for_what_tells_its_health(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        ours = SERVICES[other]["image"].startswith("agent-orchestrator:")
        assert "healthcheck" in SERVICES[other] or ours  # whose image brings one


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source, _, _ = mount.partition(":")
        if source.startswith("./"):
            assert (TOP / source).exists()
            assert mount.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_only_the_orchestrators_reach_the_database_and_kafka() -> None:
    there = {name for name, each in SERVICES.items() if "data" in each.get("networks", ())}

    assert COMPOSE["networks"]["data"]["internal"] is True
    assert there == {*ORCHESTRATORS, "postgres", "kafka"}
    assert SERVICES["postgres"]["networks"] == SERVICES["kafka"]["networks"] == ["data"]


def test_every_orchestrator_is_scraped_and_grafana_asks_who_scrapes() -> None:
    prometheus = yaml.safe_load((TOP / "config" / "prometheus.yml").read_text())
    (job,) = (each for each in prometheus["scrape_configs"] if each["job_name"] == "orchestrator")
    sources = TOP / "config" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    (source,) = yaml.safe_load(sources.read_text())["datasources"]

    assert job["static_configs"] == [{"targets": [f"{name}:8000" for name in ORCHESTRATORS]}]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_grafana_finds_the_dashboards_where_they_are_mounted() -> None:
    provider = TOP / "config" / "grafana" / "provisioning" / "dashboards" / "orchestrator.yaml"
    (given,) = yaml.safe_load(provider.read_text())["providers"]
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert mounts["./config/grafana/dashboards"] == given["options"]["path"]
    name = Path(home).relative_to(given["options"]["path"])
    assert (TOP / "config" / "grafana" / "dashboards" / name).is_file()
