"""Who asks, where proxies stand in front: only a named one is believed, and only for what it wrote itself."""

import pytest

from uplink.receiver.proxies import HOPS_MAX, Proxies

OURS = Proxies(["10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1"])


@pytest.mark.parametrize(
    ("peer", "fields", "client"),
    [
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("203.0.113.9", ["192.0.2.1"], "203.0.113.9"),
        ("127.0.0.1", ["192.0.2.66, 192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.66", "192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.66, 192.0.2.1, 10.1.2.3"], "192.0.2.1"),
        ("127.0.0.1", ["10.4.4.4, 10.1.2.3"], "10.4.4.4"),
        ("127.0.0.1", ["192.0.2.1, unknown"], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.1, unknown, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.1:4711"], "192.0.2.1"),
        ("127.0.0.1", ["[2001:db8:2::1]:4711"], "2001:db8:2::1"),
        ("2001:db8:1::5", ["2001:db8:2::1"], "2001:db8:2::1"),
        ("::ffff:127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("", ["192.0.2.1"], ""),
    ],
)
def test_the_client_is_the_last_who_is_no_proxy_of_ours(peer: str, fields: list[str], client: str) -> None:
    assert OURS.client(peer, fields) == client


def test_a_header_without_end_is_read_for_some_hops_only() -> None:
    assert OURS.client("127.0.0.1", ["192.0.2.1" + ", 10.0.0.1" * HOPS_MAX]) == "10.0.0.1"


@pytest.mark.parametrize("text", ["proxy.example.net", "10.0.0.1/8", ""])
def test_a_proxy_is_named_by_address_or_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"IPv4|host bits"):
        Proxies([text])
