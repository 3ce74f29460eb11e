"""The RayJob: pods that Kubernetes takes, and a command that exists."""

import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def job(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((deploy / "rayjob.yaml").read_text())
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayJob")
    return dict(found["spec"])


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_kubernetes_takes_its_pods(job: dict[str, Any]) -> None:
    kubernetes = pytest.importorskip(
        "kubernetes_validate",
        reason="kubernetes_validate is not installed; make setup installs it where it can",
    )
    for pod in pods(job):
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": pod}
        kubernetes.validate(manifest, kubernetes.latest_version(), strict=True)


def test_its_command_exists(
    job: dict[str, Any], muqrt: Callable[..., CompletedProcess[str]]
) -> None:
    program, *words = shlex.split(job["entrypoint"])
    assert program == "muqrt"
    given = [word for word in words if word.startswith("--")]
    done = muqrt(*words[:2], "--help")
    assert done.returncode == 0 and given
    assert all(option in done.stdout for option in given)


def test_it_grows_to_as_many_workers_as_it_asks_for(job: dict[str, Any]) -> None:
    assert job["rayClusterSpec"]["enableInTreeAutoscaling"] is True
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    cores = int(container["resources"]["requests"]["cpu"])
    words = shlex.split(job["entrypoint"])
    assert int(words[words.index("--workers") + 1]) == group["maxReplicas"] * cores


def test_every_node_has_the_same_image_and_no_more_rights(job: dict[str, Any]) -> None:
    containers = [container for pod in pods(job) for container in pod["containers"]]
    assert len({each["image"] for each in containers}) == 1
    assert all(not each["securityContext"]["allowPrivilegeEscalation"] for each in containers)
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods(job))
