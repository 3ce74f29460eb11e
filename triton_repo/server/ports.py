"""Choose the ports to listen on."""

import socket
from contextlib import ExitStack

from ...common.network import family_of
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
    with ExitStack() as held:
        sockets = [
            held.enter_context(bound_socket(name, address, port))
            for name, (address, port) in wanted.items()
        ]
        return [each.getsockname()[1] for each in sockets]


def bound_socket(name: str, address: str, port: int | None) -> socket.socket:
    """A TCP socket that has a port, and does not listen yet.

    Args:
        name: what messages call the port.
        address: the interface.
        port: a free one when None or 0.

    Raises:
        ServerError: the port cannot be used.
    """
    bound = socket.socket(family_of(address), socket.SOCK_STREAM)
    # Like the server: a port is free as soon as its last owner is gone.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port or 0))
    except (OSError, OverflowError) as error:
        bound.close()
        raise port_error(name, address, port, error) from error
    return bound


def port_error(name: str, address: str, port: int | None, error: Exception) -> ServerError:
    """The error for a port that cannot be used; its option is ``--NAME-port``."""
    return ServerError(
        f"The {name} port cannot be {port or 'any'} on {address} ({error}). "
        f"Choose another with --{name}-port."
    )
