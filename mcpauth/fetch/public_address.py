"""Which addresses are on the public internet (RFC 6890, and its registries since)."""

import ipaddress
import socket

SPECIAL_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)

GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# 2001::/23 holds Teredo and ORCHID; 2002::/16 is 6to4, which may lead anywhere.
SPECIAL_IPV6 = tuple(
    map(
        ipaddress.IPv6Network,
        ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
# The translated address is what counts (RFC 6052 §3.1): networks without IPv4 reach everything through it.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether the address ``text`` is somebody's on the internet; False for what is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address in GLOBAL_UNICAST and not any(address in network for network in SPECIAL_IPV6)
        address = inner
    return not any(address in network for network in SPECIAL_IPV4)


def canonical(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address ``text``; IPv4 as itself, however it is written. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def is_near(text: str) -> bool:
    """Whether ``text``, an address, is this machine's, or in the network of one that it has.

    The system says which of its own addresses it would go there from; nothing is sent.
    """
    target = canonical(text)
    with socket.socket(socket.AF_INET6 if target.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(target), 443))
        except OSError:
            return False  # There is no way there.
        own = canonical(probe.getsockname()[0])
    # Neighbours with private addresses were refused before; these may have public ones.
    return target == own or (target.version == 6 and target in ipaddress.ip_network((own, 64), strict=False))


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
