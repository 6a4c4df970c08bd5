"""Which address a request comes from, behind which proxies."""

from __future__ import annotations

import pytest

from api.client_address import ClientAddresses

PROXIES = ClientAddresses(["10.0.0.1", "10.1.0.0/16", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "9.9.9.9, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "9.9.9.9, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "9.9.9.9, unknown", "10.0.0.1"),
        ("10.0.0.1", "9.9.9.9:80", "10.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "9.9.9.9", "2001:db8:1:2::/64"),
        ("", "9.9.9.9", ""),
    ],
)
def test_only_a_trusted_proxy_may_name_the_client(
    peer: str, forwarded: str | None, client: str
) -> None:
    assert PROXIES.find(peer, forwarded) == client


def test_nobody_is_trusted_unless_it_is_said() -> None:
    assert ClientAddresses().find("127.0.0.1", "9.9.9.9") == "127.0.0.1"


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"proxy\.example"):
        ClientAddresses(["proxy.example"])
