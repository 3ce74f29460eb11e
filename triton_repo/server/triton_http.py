"""Triton's own HTTP endpoints, for the process that started it."""

import json
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from .access import RestrictedApis
from .installation import version_numbers

_ASK_SECONDS = 5.0


class TritonHttp:
    """Asks a server on this machine; every method may raise OSError and HTTPException.

    Args:
        url: base URL of its HTTP.
        metrics_url: of its metrics.
        apis: has the key to the restricted APIs.
    """

    def __init__(self, url: str, metrics_url: str, apis: RestrictedApis) -> None:
        self._url, self._metrics_url, self._apis = url, metrics_url, apis

    def get(self, path: str, timeout_seconds: float = _ASK_SECONDS) -> bytes:
        """The body of the answer to a GET request."""
        return ask(f"{self._url}{path}", timeout_seconds)

    def version(self) -> tuple[int, ...]:
        """Its version's numbers, such as 2, 51 and 0."""
        return version_numbers(json.loads(self.get("/v2"))["version"])

    def metrics_text(self) -> str:
        """Its metrics, in the text format of Prometheus."""
        return ask(self._metrics_url, _ASK_SECONDS).decode()

    def models(self) -> dict[str, str]:
        """State of each model in the repository by name, READY when it can be used."""
        index = json.loads(self._control("index", _ASK_SECONDS))
        return {each["name"]: each.get("state", "UNAVAILABLE") for each in index}

    def reload(self, model: str, timeout_seconds: float) -> None:
        """Unload a model and load it again."""
        # A dead one never unloads, but the load does not wait for that.
        self._control(f"models/{quote(model)}/unload", _ASK_SECONDS)
        self._control(f"models/{quote(model)}/load", timeout_seconds)

    def _control(self, path: str, timeout_seconds: float) -> bytes:
        url = f"{self._url}/v2/repository/{path}"
        return ask(Request(url, b"{}", self._apis.headers, method="POST"), timeout_seconds)


def ask(request: Request | str, timeout_seconds: float) -> bytes:
    """The body of the answer to a request; raises as urllib does."""
    # Without the environment's proxy: the server is local.
    with build_opener(ProxyHandler({})).open(request, timeout=timeout_seconds) as response:
        return bytes(response.read())
