"""compose.yaml and what it mounts: valid, whole, and for this machine's loopback only."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def services(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]
    return found


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_it_follows_the_compose_specification(name: str, deploy: Path) -> None:
    pytest.importorskip(
        "check_jsonschema",
        reason="check_jsonschema is not installed; make setup installs it where it can",
    )
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, deploy / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_only_this_machine_can_connect(services: dict[str, Any]) -> None:
    published = [port for each in services.values() for port in each["ports"]]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_mounted_file_is_there(deploy: Path, services: dict[str, Any]) -> None:
    volumes = [volume for each in services.values() for volume in each["volumes"]]
    files = [volume.split(":")[0] for volume in volumes if str(volume).startswith("./")]
    assert len(files) == 5
    assert all((deploy / file).is_file() for file in files)


def test_the_server_has_time_to_drain(
    services: dict[str, Any], server_arguments: dict[str, str]
) -> None:
    seconds = int(services["server"]["stop_grace_period"].removesuffix("s"))
    assert seconds > int(server_arguments["exit-seconds"])


def test_prometheus_and_grafana_find_what_they_ask(deploy: Path, services: dict[str, Any]) -> None:
    prometheus = yaml.safe_load((deploy / "prometheus.yml").read_text())
    assert all(f":/etc/prometheus/{file}:ro" in str(services) for file in prometheus["rule_files"])
    grafana = yaml.safe_load((deploy / "grafana" / "datasource.yaml").read_text())
    asked = [grafana["datasources"][0]["url"].removeprefix("http://")]
    for job in prometheus["scrape_configs"]:
        asked += job["static_configs"][0]["targets"]
    assert len(asked) == 2
    for address in asked:
        service, port = address.split(":")
        assert f"127.0.0.1:{port}:{port}" in services[service]["ports"]
