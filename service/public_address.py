"""Which IP addresses belong to the public internet.

Stricter than `ipaddress.is_global`, which changed from one Python version to the next (CVE-2024-4032) and looks at the
registries alone: of IPv6 only what is given to networks counts, and forms with an IPv4 address inside, which a tunnel
or a translator would unpack, count by what is inside (NAT64) or not at all (mapped, 6to4, Teredo).
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# https://www.iana.org/assignments/iana-ipv4-special-registry and, for the last two, multicast and reserved.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public address by the registry; in Azure, that of the platform's own services
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GIVEN_V6 = IPv6Network("2000::/3")
"""The only part of IPv6 from which networks get their addresses."""
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # of protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""How an IPv6-only network spells the addresses of IPv4: the last 32 bits."""


def is_public_address(address: str) -> bool:
    """Whether `address` (IPv4 or IPv6, without zone) may be reached through the public internet only."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed in _NAT64:
        parsed = IPv4Address(int(parsed) & 0xFFFF_FFFF)
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_V4)
    return parsed.scope_id is None and parsed in _GIVEN_V6 and not any(parsed in network for network in _NOT_PUBLIC_V6)
