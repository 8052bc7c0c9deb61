"""`examples/kubernetes/moshi.yaml` against the schemas of Kubernetes, and against the server that it starts."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "kubernetes" / "moshi.yaml"


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(EXAMPLE.read_text()))


def test_every_object_is_what_kubernetes_takes(objects: list[dict[str, Any]]) -> None:
    assert [entry["kind"] for entry in objects] == [
        "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]  # fmt: skip
    for entry in objects:
        # Strict: a misspelled field is an error and not passed over.
        kubernetes_validate.validate(entry, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_is_strict(objects: list[dict[str, Any]]) -> None:
    wrong = objects[1] | {"spec": objects[1]["spec"] | {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_its_names_and_times_agree(objects: list[dict[str, Any]]) -> None:
    deployment, service, budget, scaler = objects
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    for selector in (deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"],
                     budget["spec"]["selector"]["matchLabels"]):  # fmt: skip
        assert selector.items() <= pod["metadata"]["labels"].items()
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] >= pause + int(environment["MOSHI_DRAIN"]) + 10
    average = int(scaler["spec"]["metrics"][0]["pods"]["target"]["averageValue"])
    assert average < int(environment["MOSHI_MAX_SESSIONS"])


def test_no_pod_gets_the_variables_of_services(objects: list[dict[str, Any]]) -> None:
    # A Service named `moshi` sets MOSHI_PORT=tcp://..., MOSHI_SERVICE_HOST and more in every pod of its namespace.
    pods = [entry["spec"]["template"]["spec"] for entry in objects if "template" in entry["spec"]]
    assert pods and all(pod.get("enableServiceLinks") is False for pod in pods)


def test_the_program_takes_its_arguments_and_answers_its_probes(objects: list[dict[str, Any]], start) -> None:
    (container,) = objects[0]["spec"]["template"]["spec"]["containers"]
    changes = {"8998": "0", "0.0.0.0": "127.0.0.1", "built-in": "loopback"}
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    arguments = [changes.get(argument, argument) for argument in container["args"]]
    backend = start(*arguments, environment=environment)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        with urllib.request.urlopen(f"http://127.0.0.1:{backend.port}{path}", timeout=5) as answer:
            assert answer.status == 200
