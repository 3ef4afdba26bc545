"""Which addresses are somebody's on the internet: RFC 6890 and its registries."""

import socket

import pytest

from mcpauth.fetch.public_address import is_near, is_public

PUBLIC = [
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "64:ff9b::1.1.1.1",
    "::ffff:1.1.1.1",
]

SPECIAL = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1.1.1.1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:101:101::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd7a:115c:a1e0::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "",
    "localhost",
    "1.1.1",
    "0x7f.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_these_are(address):
    assert is_public(address)


@pytest.mark.parametrize("address", SPECIAL)
def test_these_are_not(address):
    assert not is_public(address)


def test_this_machines_own_addresses_are_near():
    assert is_near("127.0.0.1")
    assert is_near("::ffff:127.0.0.1")
    assert not any(map(is_near, ("1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1")))


def test_an_address_of_an_interface_is_near_whatever_it_is():
    """Of this machine's other addresses, one that the system would use to go elsewhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 443))
        except OSError:
            pytest.skip("this machine has no other address than loopback")
        assert is_near(probe.getsockname()[0])
