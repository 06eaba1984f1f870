"""The Kubernetes example fits the API's schemas, and the program."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from orchestrator.api.routes import OPERATIONS
from orchestrator.settings import PREFIX, Settings
from tests.images import dockerfile

FILE = Path(__file__).resolve().parents[3] / "config" / "kubernetes.example.yaml"
OBJECTS = {each["kind"]: each for each in yaml.safe_load_all(FILE.read_text())}
POD = OBJECTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
HANDOVER_S = 3  # what calls in flight get when a partition is handed over
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@pytest.mark.parametrize("version", ["1.32", "1.37"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_fits_its_schema(kind: str, version: str) -> None:
    kubernetes_validate.validate(OBJECTS[kind], version, strict=True)


def test_a_key_that_kubernetes_does_not_know_is_noticed() -> None:
    wrong = {**OBJECTS["Service"], "spec": {**OBJECTS["Service"]["spec"], "prots": []}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_everything_chooses_the_same_pods() -> None:
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]

    assert OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels


def test_what_it_is_given_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**OBJECTS["ConfigMap"]["data"], **OBJECTS["Secret"]["stringData"]}
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert {name.removeprefix(PREFIX).lower() for name in given} <= set(Settings.model_fields)
    assert Settings().database_url is not None
    # A Service's own variables would be taken for settings.
    assert POD["enableServiceLinks"] is False


def test_a_stop_has_the_time_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OBJECTS["ConfigMap"]["data"].items():
        monkeypatch.setenv(name, value)
    told = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    pause = re.search(r"sleep\((\d+)\)", told[-1])
    assert pause

    needed = int(pause[1]) + Settings().shutdown_grace_s + HANDOVER_S

    assert POD["terminationGracePeriodSeconds"] > needed + 10


def test_the_probes_ask_what_there_is() -> None:
    paths = {operation.path for operation in OPERATIONS}
    asked = {probe: CONTAINER[probe]["httpGet"]["path"] for probe in PROBES}

    assert asked["readinessProbe"] == "/health/ready"
    assert asked["livenessProbe"] == asked["startupProbe"] == "/health"
    assert set(asked.values()) <= paths
    (port,) = CONTAINER["ports"]
    assert {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}
    exposed = dockerfile.stages()[-1].last("EXPOSE")
    assert exposed is not None
    assert port["containerPort"] == int(exposed.value)


def test_it_may_do_no_more_than_it_must() -> None:
    user = next(stage.last("USER") for stage in dockerfile.stages() if stage.name == "runtime")
    assert user is not None
    pod: dict[str, Any] = POD["securityContext"]

    assert pod["runAsNonRoot"] is True
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == user.value
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_one_process_is_always_left() -> None:
    assert OBJECTS["Deployment"]["spec"]["replicas"] > 1
    assert OBJECTS["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert OBJECTS["PodDisruptionBudget"]["spec"]["minAvailable"] == 1
