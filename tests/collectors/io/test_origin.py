"""Before each piece of a journal stands where it came from; what has no such octets is read all the same."""

import pytest

from collectors.io.origin import CHUNK, DATAGRAM, NO_ORIGIN, RESTART, Origin, length_behind_origin, packed, split


@pytest.mark.parametrize(
    ("host", "port", "number"),
    [("192.0.2.1", 9060, 0), ("::1", 65_535, 7), ("2001:db8::1", 1, 2**32 - 1), ("fe80::1%eth0", 5060, 0)],
)
def test_an_origin_comes_out_as_it_went_in(host: str, port: int, number: int) -> None:
    origin, data = split(packed(CHUNK, host, port, number) + b"octets")
    assert (origin, data) == (Origin(CHUNK, host.partition("%")[0], port, number), b"octets")


def test_a_restart_has_no_sender() -> None:
    assert split(packed(RESTART, "", 0)) == (Origin(RESTART), b"")


@pytest.mark.parametrize("before", [b"", NO_ORIGIN])
def test_what_has_no_origin_is_a_datagram_of_an_unknown_sender(before: bytes) -> None:
    assert split(before + b"HEP3 and so on") == (Origin(DATAGRAM), b"HEP3 and so on")


def test_a_datagram_tells_its_length_behind_its_origin() -> None:
    length = length_behind_origin(lambda data: 10 if bytes(data[:3]) == b"ten" else 0)
    for before in (b"", NO_ORIGIN, packed(DATAGRAM, "192.0.2.1", 5)):
        assert length(memoryview(before + b"ten octets and what follows")) == len(before) + 10
        assert length(memoryview(before + b"who knows")) == 0


def test_what_a_connection_brought_ends_where_it_ends() -> None:
    length = length_behind_origin(lambda data: 10)
    assert length(memoryview(packed(CHUNK, "192.0.2.1", 5, 1) + b"ten octets")) == 0
