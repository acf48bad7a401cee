"""Addresses of data services."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2m.engine.distribution import addresses


@given(
    host=st.sampled_from(["localhost", "a-b.example", "10.0.0.1", "::1", "fe80::1"]),
    port=st.integers(1, 65_535),
)
def test_what_is_written_is_read(host: str, port: int) -> None:
    text = addresses.format_host(host, port)
    assert addresses.parse_address(f"grpc://{text}") == addresses.split_host(text) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["h:1", "grpc://h", "grpc://:1", "grpc://h:0", "grpc://h:65536", "grpc://h:1/", "http://h:1",
     "grpc://::1:5050", "grpc://[h]:1", "grpc://[1:2]:3", "grpc://u@h:1", "grpc://h :1", ""],
)  # fmt: skip
def test_other_forms_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="grpc://HOST:PORT"):
        addresses.parse_address(address)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "no.such.host.invalid", "x" * 70])
def test_hosts_that_nobody_can_connect_to(host: str) -> None:
    assert addresses.host_problem(host)


def test_only_this_machine_itself_is_loopback() -> None:
    hosts = ("localhost", "127.0.0.1", "127.1.2.3", "::1")
    assert all(map(addresses.is_loopback, hosts))
    assert not any(map(addresses.is_loopback, (socket.gethostname(), "10.0.0.1", "localhost.x")))
    assert not any(map(addresses.host_problem, hosts))
