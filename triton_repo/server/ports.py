"""Choose the ports to listen on."""

import socket
from contextlib import ExitStack

from ...errors import ServerError


def usable_ports(wanted: dict[str, tuple[str, int | None]]) -> list[int]:
    """Check that the wanted ports are free, and choose a free port for None and 0.

    Args:
        wanted: interfaces and ports by the names that messages use.
    """
    given = [(address, port) for address, port in wanted.values() if port]
    if len(set(given)) < len(given):
        raise ServerError(
            f"The HTTP, gRPC and metrics ports must differ; they are {[port for _, port in given]}."
        )
    ports = []
    with ExitStack() as held:
        for name, (address, port) in wanted.items():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            probe = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            # Like the server: a port is free as soon as its last owner is gone.
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
