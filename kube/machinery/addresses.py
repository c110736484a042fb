"""Which addresses may be an endpoint: of a pod, a service, a slice. Pure.

An address such as 127.0.0.1 means another machine to each that reads it: as an endpoint it would
lead to what a node serves to itself alone.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_LINK_LOCAL_MULTICAST = {4: ip_network("224.0.0.0/24"), 6: ip_network("ff02::/16")}
_BROADCAST = IPv4Address("255.255.255.255")


def parsed_ip(text: str) -> IPv4Address | IPv6Address | None:
    """The address; one with a zone is none: Python takes anything behind the `%`."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def special(address: IPv4Address | IPv6Address) -> str | None:
    """Why it cannot be an endpoint, in upstream's words (ValidateEndpointIP), or None."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified:
        return f"may not be unspecified ({address})"
    if address.is_loopback:
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    if address.is_link_local:
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    if address in _LINK_LOCAL_MULTICAST[address.version]:
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
    if address.is_multicast:
        return "may not be a multicast address"
    return "may not be the broadcast address" if address == _BROADCAST else None


def may_be_endpoint(text: str, version: int = 4) -> bool:
    found = parsed_ip(text)
    return found is not None and found.version == version and special(found) is None
