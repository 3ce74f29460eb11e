"""Ports to listen on."""

import socket
from contextlib import ExitStack

from ...errors import ServerError


def usable_ports(address: str, wanted: dict[str, int | None]) -> list[int]:
    """The wanted ports, free ones in place of None and 0, all seen to be free.

    Args:
        address: the interface to listen on.
        wanted: a port by the name that messages give it.

    Raises:
        ServerError: two are the same, or one cannot be had.
    """
    given = [port for port in wanted.values() if port]
    if len(set(given)) < len(given):
        raise ServerError(f"The HTTP, gRPC and metrics ports must differ; they are {given}.")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ports = []
    with ExitStack() as held:
        for name, port in wanted.items():
            probe = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            # As the server does: a port whose last owner is gone is free at once.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port or 0))
            except (OSError, OverflowError) as error:
                raise ServerError(
                    f"The {name} port cannot be {port or 'any'} on {address} ({error}). "
                    f"Choose another with --{name}-port."
                ) from error
            ports.append(probe.getsockname()[1])
    return ports
