"""Addresses of network interfaces."""

from ipaddress import ip_address


def is_loopback(address: str) -> bool:
    """Whether only programs on this machine can reach what listens on an address.

    A name other than localhost counts as an address of the network.
    """
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"
