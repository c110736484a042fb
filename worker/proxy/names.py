"""Chain names, as kube-proxy's iptables mode gives them. Pure."""

from __future__ import annotations

import base64
import hashlib

SERVICES = "KUBE-SERVICES"
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"
NODE_PORTS = "KUBE-NODEPORTS"
POSTROUTING = "KUBE-POSTROUTING"
MARK_MASQ = "KUBE-MARK-MASQ"
FORWARD = "KUBE-FORWARD"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
# The kubelet's name upstream; the rule in it guards what the proxy opens (route_localnet).
FIREWALL = "KUBE-FIREWALL"
CANARY = "KUBE-PROXY-CANARY"

FIXED = frozenset(
    {
        SERVICES, EXTERNAL_SERVICES, NODE_PORTS, POSTROUTING, MARK_MASQ, FORWARD,
        PROXY_FIREWALL, FIREWALL, CANARY,
    }
)  # fmt: skip
# Of a service port; chains lead only to such as stand further right.
PREFIXES = ("KUBE-FW-", "KUBE-EXT-", "KUBE-SVL-", "KUBE-SVC-", "KUBE-SEP-")


def is_ours(chain: str) -> bool:
    """Whether the proxy made this chain, now or in an earlier life."""
    return chain in FIXED or is_of_service(chain)


def is_of_service(chain: str) -> bool:
    return chain.startswith(PREFIXES)


def is_endpoint(chain: str) -> bool:
    return chain.startswith(PREFIXES[-1])


def depth(chain: str) -> int:
    """Chains of a smaller depth may lead to this one, never the other way."""
    if chain == MARK_MASQ:
        return len(PREFIXES) + 1
    kinds = (at for at, prefix in enumerate(PREFIXES, 1) if chain.startswith(prefix))
    return next(kinds, 0)


def cluster_chain(service_port: str, protocol: str) -> str:
    """All endpoints of a service port."""
    return "KUBE-SVC-" + _digest(service_port + protocol.lower())


def local_chain(service_port: str, protocol: str) -> str:
    """The endpoints on this node, for the traffic policy Local."""
    return "KUBE-SVL-" + _digest(service_port + protocol.lower())


def external_chain(service_port: str, protocol: str) -> str:
    """Where traffic from outside (node port, external IP) enters."""
    return "KUBE-EXT-" + _digest(service_port + protocol.lower())


def firewall_chain(service_port: str, protocol: str) -> str:
    """The source ranges of a load balancer."""
    return "KUBE-FW-" + _digest(service_port + protocol.lower())


def endpoint_chain(service_port: str, protocol: str, endpoint: str) -> str:
    """One endpoint ("ip:port") of a service port."""
    return "KUBE-SEP-" + _digest(service_port + protocol.lower() + endpoint)


def _digest(text: str) -> str:
    """16 characters: a chain's name may have 28, and a service's name is longer than that."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()
