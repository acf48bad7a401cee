"""Addresses of data services. Needs no TensorFlow."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket

# Form of an address, as text that follows "must be" and "expected".
EXPECTED = (
    "grpc://HOST:PORT of an r2m-data-service, PORT from 1 to 65535, [HOST] for an IPv6 address"
)
_MOST_PORT = 65_535
Host = tuple[str, int]  # name or IP address without brackets, port


def parse_address(address: str) -> Host:
    """Splits 'grpc://HOST:PORT'.

    Raises:
        ValueError: the address has another form; the message says which form it must have.
    """
    found = re.fullmatch(r"grpc://(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]@]+)):([0-9]{1,5})", address)
    if found is None or not 1 <= int(found[3]) <= _MOST_PORT:
        raise ValueError(EXPECTED)
    if found[1] is not None:
        _require_ip(found[1])
    return found[1] or found[2], int(found[3])


def format_host(host: str, port: int) -> str:
    """Returns 'HOST:PORT', with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host(text: str) -> Host:
    """Splits 'HOST:PORT'; raises ValueError if it has another form."""
    return parse_address(f"grpc://{text}")


def connection_problem(host: Host, timeout: float) -> str | None:
    """Connects and disconnects; returns the reason of a failure, or None.

    Args:
        host: host to connect to.
        timeout: maximum time of an answer, in seconds.
    """
    try:
        socket.create_connection(host, timeout=timeout).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is too long
        return getattr(error, "strerror", None) or str(error)
    return None


def host_problem(host: str) -> str | None:
    """Returns the reason why no machine can connect to a name or IP address, or None."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host or "0.0.0.0", None)}
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    if any(ipaddress.ip_address(ip.partition("%")[0]).is_unspecified for ip in found):
        return "not an address to connect to"
    return None


def is_loopback(host: str) -> bool:
    """Returns whether a name or IP address is reachable only by processes of this machine.

    A machine's own name is not, even if /etc/hosts maps it to a loopback address.
    """
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _require_ip(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise ValueError(EXPECTED) from error
