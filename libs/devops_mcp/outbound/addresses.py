"""Which addresses may be reached.

`ipaddress.is_global` is no filter: it lets mapped, 6to4, NAT64 and multicast forms of private addresses pass. So the
special blocks are listed (IANA special-purpose registries, RFC 6890 and its updates), and IPv6 is allowed only in 2000::/3.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = IPv6Network("::/96")
_METADATA = frozenset(
    {
        "169.254.169.254", "fd00:ec2::254",  # instance metadata of AWS, and of most others
        "169.254.170.2", "169.254.170.23", "fd00:ec2::23",  # credentials of ECS tasks and EKS pods
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's host, a public address that leads to the machine underneath
    }
)  # fmt: skip


def parse_networks(blocks: Iterable[str]) -> tuple[Network, ...]:
    """The networks written in `blocks`; raises ValueError for what is not CIDR."""
    return tuple(ip_network(block) for block in blocks)


def may_reach(address: str, private_networks: tuple[Network, ...] = ()) -> bool:
    """Whether `address` is public, or lies in a network that the operator has opened.

    The metadata services of clouds are never reached, whatever is opened and however the address is wrapped.
    """
    try:
        ip = _unmapped(ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if str(ip) in _METADATA or str(_embedded_v4(ip)) in _METADATA:
        return False
    if any(ip.version == network.version and ip in network for network in private_networks):
        return True
    if isinstance(ip, IPv4Address):
        return not any(ip in block for block in _SPECIAL_V4)
    return ip in _GLOBAL_V6 and not any(ip in block for block in _SPECIAL_V6)


def _unmapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def _embedded_v4(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a NAT64, 6to4 or IPv4-compatible address leads to."""
    if isinstance(ip, IPv4Address):
        return None
    if ip in _NAT64 or ip in _V4_COMPATIBLE:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.sixtofour
