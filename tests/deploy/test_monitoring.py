"""Rules, dashboard and autoscaler: every series that they ask for is one that a server exports."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.triton_repo.repository.write import write_repository, write_stream_repository
from muqrt.triton_repo.server.metrics import MetricsEndpoint
from muqrt.triton_repo.server.process import Server
from muqrt.triton_repo.server.supervisor import Supervisor

promql = pytest.importorskip(
    "promql_parser", reason="promql_parser is not installed; make setup installs it where it can"
)

# Where there is a GPU; as in Triton's documentation of its metrics.
GPU = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
# Prometheus' own, of every target.
PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def rules(deploy: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((deploy / "helm" / "muqrt" / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def recorded(rules: list[dict[str, Any]]) -> set[str]:
    return {rule["record"] for rule in rules if "record" in rule}


@pytest.fixture(scope="module")
def panels(deploy: Path) -> list[dict[str, Any]]:
    dashboard = json.loads((deploy / "grafana" / "dashboard.json").read_text())
    found: list[dict[str, Any]] = dashboard["panels"]
    return found


@pytest.fixture(scope="module")
def exported(tagged_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a real server with both models says to Prometheus."""
    folder = tmp_path_factory.mktemp("deploy")
    bundle = load_bundle(tagged_bundle)
    write_repository(bundle, folder / "models")
    write_stream_repository(bundle, folder / "models")
    ask = build_opener(ProxyHandler({})).open
    with (
        Server(folder / "models", log=folder / "triton.log", start_timeout_seconds=60) as server,
        Supervisor(server) as supervisor,
        MetricsEndpoint("127.0.0.1", 0, server.metrics_text, supervisor.metrics_text) as metrics,
    ):
        text: str = ask(metrics.url, timeout=5).read().decode()
    return text


def asked_for(expression: str) -> set[str]:
    """The series in an expression of PromQL; ValueError when it is not one."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            found.add(node.name)

    promql.walk(promql.parse(expression.replace("$__rate_interval", "1m")), visit)
    return found


def shown(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_series_are_found_in_expressions() -> None:
    assert asked_for('sum by (job) (rate(a_total{b="c"}[1m])) / (d:e > 0)') == {"a_total", "d:e"}
    with pytest.raises(ValueError, match="parenthesis"):
        asked_for("sum(rate(a[1m])")


@pytest.mark.server
def test_the_server_exports_all_that_is_asked_for(
    exported: str, rules: list[dict[str, Any]], recorded: set[str], panels: list[dict[str, Any]]
) -> None:
    served = set(re.findall(r"^(\w+)[{ ]", exported, flags=re.MULTILINE))
    wanted = set().union(*map(asked_for, [rule["expr"] for rule in rules] + shown(panels)))
    assert len(wanted) > 15
    unknown = wanted - served - recorded - GPU - PROMETHEUS
    assert not unknown
    assert re.search(r'^nv_inference_request_failure\{.*reason="REJECTED"', exported, re.MULTILINE)


def test_promtool_accepts_the_configuration(deploy: Path, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH; Debian has it in prometheus, which takes 96 MB")
    for file in ("prometheus.yml", "helm/muqrt/rules.yml"):
        shutil.copy(deploy / file, tmp_path)
    check = [promtool, "check", "config", tmp_path / "prometheus.yml"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_recorded_series_is_shown(recorded: set[str], panels: list[dict[str, Any]]) -> None:
    assert recorded <= set().union(*map(asked_for, shown(panels)))


def test_the_autoscaler_asks_for_what_is_recorded_and_served(
    render: Callable[[dict[str, Any]], list[dict[str, Any]]], everything: dict[str, Any]
) -> None:
    scaled = next(each for each in render(everything) if each["kind"] == "ScaledObject")
    queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
    assert set().union(*map(asked_for, queries)) == {
        "muqrt:queue_seconds:mean1m",
        "muqrt_live_streams",
    }
    assert all('namespace="music"' in query for query in queries)


def test_every_alert_says_what_is_wrong(rules: list[dict[str, Any]]) -> None:
    alerts = [rule for rule in rules if "alert" in rule]
    assert len(alerts) == 6
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["summary"].endswith(".")
        assert "for" in alert


def test_panels_do_not_overlap(panels: list[dict[str, Any]]) -> None:
    def apart(a: dict[str, int], b: dict[str, int]) -> bool:
        return (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert all(apart(a["gridPos"], b["gridPos"]) for a, b in combinations(panels, 2))
