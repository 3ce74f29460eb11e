"""Where a server is, and what it takes to be let in."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from ...common.network import is_loopback
from ...errors import ServerError

TOKEN_VARIABLE = "MUQRT_TOKEN"
_SECURE = "grpcs://"


@dataclass(frozen=True)
class Endpoint:
    """A server's gRPC endpoint.

    Attributes:
        url: its host and port. With grpcs:// before them the connection uses TLS, and the server's
            certificate is checked against the system's authorities.
        ca: file with the authorities to check it against instead, PEM; it implies TLS.
        token: sent with every call; what MUQRT_TOKEN holds by default.
    """

    url: str
    ca: Path | None = None
    token: str | None = field(default_factory=lambda: os.environ.get(TOKEN_VARIABLE), repr=False)

    def __str__(self) -> str:
        return self.url

    @property
    def is_secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.ca is not None or self.url.startswith(_SECURE)

    @property
    def address(self) -> str:
        """The url without what says that it is secure."""
        return self.url.removeprefix(_SECURE)

    @property
    def headers(self) -> dict[str, str]:
        """What every call carries."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def check(self, host_and_port: str) -> None:
        """Check that the token is not sent in the open, and that the authorities can be read.

        Raises:
            ServerError: it is not so.
        """
        host = host_and_port.rpartition(":")[0].strip("[]")
        if self.token and not self.is_secure and not is_loopback(host):
            raise ServerError(
                f"A token would be sent to {host} in the open. Name the server's authority with "
                f"--ca, or write {_SECURE}{host_and_port} for one that the system knows."
            )
        if self.ca is not None:
            try:
                self.ca.read_bytes()
            except OSError as error:
                raise ServerError(f"{self.ca} cannot be read ({error}).") from error


def endpoint(url: str | Endpoint) -> Endpoint:
    """The endpoint at a url, or the one that is given."""
    return url if isinstance(url, Endpoint) else Endpoint(url)
