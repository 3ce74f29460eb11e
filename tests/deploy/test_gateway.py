"""The gateway's container, its compose service and its part of the chart."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from muqrt.cli.serving.gateway import gateway

Render = Callable[[dict[str, Any]], list[dict[str, Any]]]


def known_options() -> set[str]:
    return {name.replace("_", "-") for name in signature(gateway).parameters}


def options_in(words: list[str]) -> set[str]:
    return {word[2:].partition("=")[0] for word in words if word.startswith("--")}


def test_every_option_exists(deploy: Path) -> None:
    text = (deploy / "Dockerfile.gateway").read_text().replace("\\\n", " ")
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    words = yaml.safe_load(entry)
    service = yaml.safe_load((deploy / "compose.gateway.yaml").read_text())["services"]["gateway"]
    assert words[:2] == ["muqrt", "gateway"]
    assert options_in(words) | options_in(service["command"]) <= known_options()
    assert service["read_only"] and service["ports"] == ["127.0.0.1:8080:8080"]


def test_the_image_has_the_same_context_as_the_servers(deploy: Path) -> None:
    same = [(deploy / f"Dockerfile{kind}.dockerignore").read_text() for kind in ("", ".gateway")]
    assert same[0] == same[1]


def test_hadolint_finds_nothing(deploy: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed; make setup installs it where it can")
    done = subprocess.run([hadolint, deploy / "Dockerfile.gateway"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_files_are_valid(deploy: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="make setup installs it where it can")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, deploy / "compose.gateway.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_chart_mounts_tokens_and_says_who_may_connect(render: Render) -> None:
    clients = [{"podSelector": {"matchLabels": {"app": "player"}}}]
    values = {"enabled": True, "tokens": "radio-tokens", "clients": clients}
    found = {
        (each["kind"], each["metadata"]["name"]): each["spec"]
        for each in render({"gateway": values})
        if "spec" in each
    }
    pod = found["Deployment", "radio-muqrt-gateway"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    secrets = {each["name"]: each["secret"] for each in pod["volumes"] if "secret" in each}
    assert secrets["tokens"]["secretName"] == "radio-tokens"
    assert f"--token-file={mounts['tokens']}/tokens" in container["args"]
    labels = found["Deployment", "radio-muqrt-gateway"]["template"]["metadata"]["labels"]
    policy = found["NetworkPolicy", "radio-muqrt-gateway"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = policy["ingress"]
    assert clients[0] in rule["from"] and rule["ports"] == [{"port": "http"}]
    servers = found["NetworkPolicy", "radio-muqrt"]["ingress"][0]["from"]
    chosen = [each.get("podSelector", {}).get("matchLabels", {}) for each in servers]
    assert any(each and each.items() <= labels.items() for each in chosen)


@pytest.mark.full
@pytest.mark.parametrize("tls", [False, True])
def test_the_image_can_be_asked_whether_it_is_ready(
    tls: bool, deploy: Path, certificate: tuple[Path, Path, Path]
) -> None:
    text = (deploy / "Dockerfile.gateway").read_text().replace("\\\n", " ")
    (check,) = re.findall(r"HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    options = ["--tls-cert", certificate[1], "--tls-key", certificate[2]] if tls else []
    command = [sys.executable, "-m", "muqrt", "gateway", "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            url = json.loads(running.stdout.readline())["url"]
            asked = [sys.executable, *yaml.safe_load(check)[1:]]
            for path, code in (("/readyz", 0), ("/nowhere", 1)):
                env = {**os.environ, "READY_URL": url + path}
                assert subprocess.run(asked, env=env, capture_output=True).returncode == code
        finally:
            running.kill()


def test_the_chart_has_it_where_it_is_wanted(render: Render) -> None:
    def deployments(values: dict[str, Any]) -> dict[str, Any]:
        return {
            each["metadata"]["name"]: each
            for each in render(values)
            if each["kind"] in ("Deployment", "Service")
        }

    assert "radio-muqrt-gateway" not in deployments({})
    wanted = {"enabled": True, "arguments": ["--max-streams=8"]}
    found = render({"gateway": wanted})
    (pods,) = [
        each
        for each in found
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "radio-muqrt-gateway"
    ]
    (container,) = pods["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--server=radio-muqrt:8001", "--max-streams=8"]
    assert options_in(container["args"]) <= known_options()
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    labels = pods["spec"]["template"]["metadata"]["labels"]
    services = [each for each in found if each["kind"] == "Service"]
    chosen = {
        each["metadata"]["name"]
        for each in services
        if each["spec"]["selector"].items() <= labels.items()
    }
    assert chosen == {"radio-muqrt-gateway"}
