"""Network addresses: which are public. Standard library only."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses of the IPv4 internet as IPv6: the last 32 bits are the IPv4 address."""


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public internet, and neither to this machine nor
    to a private, link-local or reserved network. An IPv6 address that stands for an IPv4 address is
    judged by that too."""
    found = ip_address(address.partition("%")[0])
    return all(each.is_global and not each.is_multicast for each in (found, *_embedded(found)))


def not_public(host: str, address: str) -> str:
    """Return why no webhook may be sent to a host at an address that is not public, and the fix."""
    where = host if host.strip("[]") == address else f"{host} is at {address}, which"
    return (
        f"{where} is not a public address; the operator can allow these: "
        "SEARCHD_WEBHOOK_PRIVATE_NETWORKS=on"
    )


def _embedded(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    found = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found
