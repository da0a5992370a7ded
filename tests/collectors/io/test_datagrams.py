"""A listening UDP socket is bound here or inherited, and what stands in the way is told with a hint."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.contract import SourceMisconfigured, SourceUnavailable
from collectors.io.datagrams import (
    RECEIVE_BUFFER_BYTES,
    is_loopback,
    kernel_drops,
    open_datagrams,
    parse_listen,
    receive_buffer_bytes,
)


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        yield one


def address(one: socket.socket) -> str:
    return f"127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:9060", ("127.0.0.1", 9060)), ("[::1]:9060", ("::1", 9060)), ("0.0.0.0:1", ("0.0.0.0", 1))],
)
def test_an_address_is_read(listen: str, expected: tuple[str, int]) -> None:
    assert parse_listen(listen) == expected


@pytest.mark.parametrize("listen", ["", "9060", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "pbx:9060", "1.2.3:9"])
def test_what_is_no_address_is_told(listen: str) -> None:
    with pytest.raises(SourceMisconfigured) as told:
        parse_listen(listen)
    assert "127.0.0.1:9060" in told.value.hint


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False)]
)
def test_loopback_is_what_nobody_else_can_reach(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_port_in_use_is_told_with_a_hint(bound: socket.socket) -> None:
    with pytest.raises(SourceUnavailable) as told:
        open_datagrams("hep", address(bound), {})
    assert "ss -tulpn" in told.value.hint


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(SourceUnavailable) as told:
        open_datagrams("hep", "192.0.2.1:9060", {})
    assert "ip address" in told.value.hint


def test_an_inherited_socket_is_used_and_stays_open(bound: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"sent while nobody read", bound.getsockname())
    with open_datagrams("hep", "127.0.0.1:9060", {"hep": bound.fileno()}) as one:
        assert one.recv(100) == b"sent while nobody read"
    assert bound.getsockname()


def test_another_sources_socket_is_left_alone(bound: socket.socket) -> None:
    with pytest.raises(SourceUnavailable):
        open_datagrams("hep", address(bound), {"other": bound.fileno()})


def test_a_stream_socket_is_not_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stream, pytest.raises(SourceMisconfigured) as told:
        open_datagrams("hep", "127.0.0.1:9060", {"hep": stream.fileno()})
    assert "ListenDatagram" in told.value.hint


def test_a_file_is_not_taken() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(SourceMisconfigured):
            open_datagrams("hep", "127.0.0.1:9060", {"hep": reading})
    finally:
        os.close(reading)
        os.close(writing)


def test_a_socket_without_a_port_is_not_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loose, pytest.raises(SourceMisconfigured):
        open_datagrams("hep", "127.0.0.1:9060", {"hep": loose.fileno()})


def test_the_receive_buffer_is_as_large_as_the_kernel_allows(bound: socket.socket) -> None:
    before = receive_buffer_bytes(bound)
    with open_datagrams("hep", "127.0.0.1:9060", {"hep": bound.fileno()}) as one:
        allowed = int(Path("/proc/sys/net/core/rmem_max").read_text())
        assert receive_buffer_bytes(one) >= min(allowed, RECEIVE_BUFFER_BYTES)
        assert receive_buffer_bytes(one) >= before


def test_what_the_kernel_drops_is_counted(bound: socket.socket) -> None:
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(100):
            sender.sendto(bytes(1000), bound.getsockname())
    bound.setblocking(False)
    kept = 0
    try:
        while bound.recv(2000):
            kept += 1
    except BlockingIOError:
        pass
    assert kernel_drops(bound) == 100 - kept > 0
