"""The files of deploy/, and the chart as Helm renders it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="session")
def deploy() -> Path:
    """The folder deploy/."""
    return Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="session")
def everything() -> dict[str, Any]:
    """Values of the chart with everything optional turned on."""
    return {
        "imagePullSecrets": [{"name": "registry"}],
        "models": {"fetch": {"image": "fetcher:1", "command": ["sync", "/models"]}},
        "arguments": ["--rate-limit"],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "autoscaling": {"enabled": True},
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    }


@pytest.fixture(scope="session")
def render(deploy: Path) -> Iterator[Callable[[dict[str, Any]], list[dict[str, Any]]]]:
    """Renders the chart as release ``radio`` in namespace ``music``: a list of objects."""
    helm = pytest.importorskip(
        "helm_python", reason="helm_python is not installed; make setup installs it where it can"
    )
    with helm.Chart.load(deploy / "helm" / "muqrt") as chart:

        def objects(values: dict[str, Any]) -> list[dict[str, Any]]:
            files = chart.render(values, name="radio", namespace="music")
            return [each for text in files.values() for each in yaml.safe_load_all(text) if each]

        yield objects


@pytest.fixture(scope="session")
def server_arguments(deploy: Path) -> dict[str, str]:
    """What the image runs ``muqrt serve`` with: values by option, Triton's own by theirs."""
    command = (deploy / "Dockerfile").read_text().partition("\nENTRYPOINT ")[2]
    words: list[str] = yaml.safe_load(command.replace("\\\n", " "))
    assert words[1:4] == ["muqrt", "serve", "/models"]
    options = [word.removeprefix("--triton-argument=") for word in words[4:]]
    return dict(word.removeprefix("--").partition("=")[::2] for word in options)
