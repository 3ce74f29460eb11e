"""The Helm chart: values and schema agree, and what Helm renders fits together."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Render = Callable[[dict[str, Any]], list[dict[str, Any]]]
# Of other projects: Kubernetes' own schemas do not have them.
CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject"}


@pytest.fixture(scope="module")
def chart(deploy: Path) -> Path:
    return deploy / "helm" / "muqrt"


@pytest.fixture(scope="module")
def values(chart: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return found


def by_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def test_templates_use_only_values_that_exist(chart: Path, values: dict[str, Any]) -> None:
    text = "".join(path.read_text() for path in (chart / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([\w.]+)", text))
    assert len(used) > 15
    for name in used:
        found = values
        for key in name.split("."):
            assert key in found, name
            found = found[key]


def test_the_schema_describes_exactly_the_values(chart: Path, values: dict[str, Any]) -> None:
    def compare(schema: dict[str, Any], found: dict[str, Any]) -> None:
        assert schema["additionalProperties"] is False
        assert set(schema["properties"]) - {"global"} == set(found)
        for name, each in found.items():
            if "properties" in schema["properties"][name]:
                compare(schema["properties"][name], each)

    compare(json.loads((chart / "values.schema.json").read_text()), values)


def test_helm_lints_it(chart: Path) -> None:
    helm = pytest.importorskip(
        "helm_python", reason="helm_python is not installed; make setup installs it where it can"
    )
    report = helm.lint(chart)
    assert report["total_charts_linted"] == 1
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("with_everything", [False, True])
def test_kubernetes_takes_every_object(
    with_everything: bool, render: Render, everything: dict[str, Any]
) -> None:
    kubernetes = pytest.importorskip(
        "kubernetes_validate",
        reason="kubernetes_validate is not installed; make setup installs it where it can",
    )
    objects = render(everything if with_everything else {})
    kinds = {each["kind"] for each in objects}
    assert kinds >= CUSTOM if with_everything else not CUSTOM & kinds
    for each in objects:
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "radio"
        if each["kind"] not in CUSTOM:
            kubernetes.validate(each, kubernetes.latest_version(), strict=True)


def test_selectors_and_ports_lead_to_the_server(render: Render, everything: dict[str, Any]) -> None:
    objects = render(everything)
    deployment = by_kind(objects, "Deployment")[0]["spec"]
    pod = deployment["template"]
    selectors = [deployment["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in by_kind(objects, "Service")]
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        selectors += [by_kind(objects, kind)[0]["spec"]["selector"]["matchLabels"]]
    policy = by_kind(objects, "NetworkPolicy")[0]["spec"]
    selectors += [policy["podSelector"]["matchLabels"]]
    assert len(selectors) == 6
    assert all(each.items() <= pod["metadata"]["labels"].items() for each in selectors)

    # The rules and the autoscaler ask for the job of this name.
    job_label = by_kind(objects, "PodMonitor")[0]["spec"]["jobLabel"]
    assert pod["metadata"]["labels"][job_label] == "muqrt"

    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    used = {p["targetPort"] for each in by_kind(objects, "Service") for p in each["spec"]["ports"]}
    used |= {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    used |= {by_kind(objects, "PodMonitor")[0]["spec"]["podMetricsEndpoints"][0]["port"]}
    assert used == ports


def test_a_pod_has_time_to_drain(render: Render, server_arguments: dict[str, str]) -> None:
    pod = by_kind(render({}), "Deployment")[0]["spec"]["template"]["spec"]
    leaving = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    draining = int(server_arguments["exit-seconds"])
    assert pod["terminationGracePeriodSeconds"] > leaving + draining


def test_models_are_claimed_or_fetched(render: Render, everything: dict[str, Any]) -> None:
    claimed = by_kind(render({}), "Deployment")[0]["spec"]["template"]["spec"]
    assert "initContainers" not in claimed
    assert claimed["volumes"][0]["persistentVolumeClaim"]["claimName"] == "muqrt-models"
    fetched = by_kind(render(everything), "Deployment")[0]["spec"]["template"]["spec"]
    assert fetched["volumes"][0] == {"name": "models", "emptyDir": {}}
    assert fetched["initContainers"][0]["command"] == ["sync", "/models"]
    assert fetched["initContainers"][0]["volumeMounts"] == [
        {"name": "models", "mountPath": "/models"}
    ]
    # A policy for the pod holds for what fetches too, which must get out.
    assert by_kind(render(everything), "NetworkPolicy")[0]["spec"]["policyTypes"] == ["Ingress"]


def test_the_autoscaler_alone_says_how_many(render: Render, everything: dict[str, Any]) -> None:
    assert by_kind(render({}), "Deployment")[0]["spec"]["replicas"] == 1
    objects = render(everything)
    deployment = by_kind(objects, "Deployment")[0]
    assert "replicas" not in deployment["spec"]
    target = by_kind(objects, "ScaledObject")[0]["spec"]["scaleTargetRef"]
    assert target == {"name": deployment["metadata"]["name"]}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"replica": 3}, "'replica' not allowed"),
        ({"replicas": 0}, "/replicas"),
        ({"models": {"claim": ""}}, "/models"),
        ({"sessionAffinity": "clientIP"}, "/sessionAffinity"),
        ({"networkPolicy": {"clients": []}}, "/networkPolicy/clients"),
        ({"terminationGracePeriodSeconds": 30}, "/terminationGracePeriodSeconds"),
        ({"autoscaling": {"enabled": True}}, "needs monitoring.enabled"),
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any], reason: str, render: Render) -> None:
    with pytest.raises(Exception, match=reason):
        render(wrong)
