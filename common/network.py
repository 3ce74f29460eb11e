"""Addresses of network interfaces, and what may be opened on the web."""

from ipaddress import ip_address
from socket import AF_INET, AF_INET6, AddressFamily
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib.request import BaseHandler, OpenerDirector


def local_host(address: str) -> str:
    """The host a local client connects to for a server listening on ``address``, for a URL."""
    if address in ("0.0.0.0", "::"):
        return "localhost"
    return in_brackets(address)


def in_brackets(address: str) -> str:
    """An address as it stands before a port or in a URL."""
    return f"[{address}]" if ":" in address else address


def family_of(address: str) -> AddressFamily:
    """The family of sockets for an address."""
    return AF_INET6 if ":" in address else AF_INET


def is_loopback(address: str) -> bool:
    """Whether only programs on this machine can reach what listens on an address.

    A name other than localhost counts as an address of the network.
    """
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


def http_opener(*handlers: "BaseHandler") -> "OpenerDirector":
    """What opens addresses of http and https alone, redirections too: ``urlopen`` would read the
    local file that an address names.

    Args:
        handlers: for http, https and, where they are to be used, proxies.
    """
    from urllib.request import (
        HTTPDefaultErrorHandler,
        HTTPErrorProcessor,
        HTTPRedirectHandler,
        OpenerDirector,
        UnknownHandler,
    )

    opener = OpenerDirector()
    for each in (
        *handlers,
        UnknownHandler(),
        HTTPDefaultErrorHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(each)
    return opener
