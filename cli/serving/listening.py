"""Where a server of ours listens, and whom it lets in: options of the commands that serve."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import note
from ...common.network import is_loopback
from ...errors import UsageError

if TYPE_CHECKING:
    from ...triton_repo.front.admission import AdmissionConfig
    from ...triton_repo.front.server import Tls
    from ...triton_repo.front.tokens import Tokens

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Listening:
    """The options."""

    address: Annotated[
        str,
        typer.Option(help="Interface to listen on; others than loopback need --allow-remote."),
    ] = LOOPBACK
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Let --address open the server to the network."),
    ] = False
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate with its chain, PEM, for HTTPS and gRPC.")
    ] = None
    tls_key: Annotated[Path | None, typer.Option(help="Key of --tls-cert, PEM.")] = None
    token_file: Annotated[
        Path | None,
        typer.Option(help="File of tokens, one a line; requests without one of them are refused."),
    ] = None
    max_running: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests that are with the models at once, over HTTP and gRPC together: 64 by "
            "default.",
        ),
    ] = None
    max_waiting: Annotated[
        int | None,
        typer.Option(min=0, help="Requests that wait for that, 64 by default; more are refused."),
    ] = None

    def check_address(self) -> None:
        """Refuse to open the server to the network by mistake, and say who can use it.

        Raises:
            UsageError: the address is not loopback, and that was not asked for.
        """
        if is_loopback(self.address):
            return
        if not self.allow_remote:
            raise UsageError(
                f"--address {self.address} opens the server to the network: everyone who reaches "
                "it can use the models. Add --allow-remote if that is what you want."
            )
        if self.token_file is None:
            note(
                f"everyone who reaches {self.address} can use the models; --token-file asks them "
                "for a token."
            )

    @property
    def tls(self) -> "Tls | None":
        """The certificate's files.

        Raises:
            UsageError: one of the two.
        """
        from ...triton_repo.front.server import Tls

        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together.")
        if self.tls_cert is None or self.tls_key is None:
            return None
        return Tls(self.tls_cert, self.tls_key)

    @property
    def tokens(self) -> "Tokens | None":
        """The tokens that are asked for; raises ServerError if they cannot be read."""
        from ...triton_repo.front.tokens import Tokens

        return None if self.token_file is None else Tokens(self.token_file)

    def admission(self, running: int | None = None) -> "AdmissionConfig":
        """How much is admitted; ``running`` by default, where it is not the front's own."""
        from ...triton_repo.front.admission import AdmissionConfig

        usual = AdmissionConfig() if running is None else AdmissionConfig(running)
        return AdmissionConfig(
            usual.running if self.max_running is None else self.max_running,
            usual.waiting if self.max_waiting is None else self.max_waiting,
        )
