"""The InferenceService: a pod that Kubernetes takes, and that fits the chart and the image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def predictor(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((deploy / "kserve.yaml").read_text())
    assert found["kind"] == "InferenceService"
    return dict(found["spec"]["predictor"])


def test_kubernetes_takes_its_pod(predictor: dict[str, Any]) -> None:
    kubernetes = pytest.importorskip(
        "kubernetes_validate",
        reason="kubernetes_validate is not installed; make setup installs it where it can",
    )
    # All but the scaling is a pod's own specification.
    pod = {key: value for key, value in predictor.items() if key != "minReplicas"}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "muqrt"}, "spec": pod}
    kubernetes.validate(manifest, kubernetes.latest_version(), strict=True)


def test_it_asks_what_the_chart_asks(
    predictor: dict[str, Any], render: Callable[[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    objects = render({})
    deployment = next(each for each in objects if each["kind"] == "Deployment")
    charted = deployment["spec"]["template"]["spec"]
    (own,), (theirs,) = predictor["containers"], charted["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = {**own[probe], "httpGet": {**own[probe]["httpGet"], "port": "http"}}
        assert asked == theirs[probe]
    for key in ("resources", "securityContext", "volumeMounts"):
        assert own[key] == theirs[key], key
    assert predictor["securityContext"] == charted["securityContext"]
    assert predictor["volumes"] == charted["volumes"]


def test_it_has_time_to_drain(predictor: dict[str, Any], server_arguments: dict[str, str]) -> None:
    assert predictor["terminationGracePeriodSeconds"] > int(server_arguments["exit-seconds"])
