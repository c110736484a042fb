"""Names in the table, as kube-proxy's nftables mode gives them. Pure."""

from __future__ import annotations

import base64
import hashlib

from worker.proxy.serviceports import Port

TABLE = "kube-proxy"

CLUSTER_IPS = "cluster-ips"
NODE_PORT_IPS = "nodeport-ips"
FIREWALL_IPS = "firewall-ips"
NO_ENDPOINT_NODE_PORTS = "no-endpoint-nodeports"
NO_ENDPOINT_SERVICES = "no-endpoint-services"
SERVICE_IPS = "service-ips"
SERVICE_NODE_PORTS = "service-nodeports"

MARK = "mark-for-masquerade"
REJECT = "reject-chain"

_MOST = 240  # characters of hash and name; the kernel allows 255, prefixes need some


def of_port(port: Port) -> str:
    """What the names of a port's chains end in."""
    return _hashed(_plain(port))


def of_endpoint(port: Port, ip: str, number: int) -> str:
    return _hashed(f"{_plain(port)}__{ip}/{number}")


def _plain(port: Port) -> str:
    return f"{port.namespace}/{port.service}/{port.protocol.lower()}/{port.port_name}"


def _hashed(name: str) -> str:
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest()[:5]).decode()
    whole = f"{digest}-{name}"
    return whole if len(whole) <= _MOST else whole[: _MOST - 3] + "..."
