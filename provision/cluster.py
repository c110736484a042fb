"""The little that the provisioner asks the lab's API: which nodes are there, and are they Ready.

It writes one thing, the masters' role label, which no kubelet may set on its own Node.
"""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from provision.payload.masters import CONTROL_PLANE, REST_PORT

SERVER_NAME = "kubernetes"  # kubeadm's certificates of api-servers have it, and so have ours


class ApiUnavailable(Exception):
    """The API does not answer, or not with what was asked for. The message says which."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """What the lab's API says of a node."""

    name: str
    ready: bool
    why: str
    version: str
    pod_cidr: str
    is_control_plane: bool = False


class Cluster:
    """The administrator's view of one lab."""

    def __init__(self, address: str, pki: Path, port: int = REST_PORT) -> None:
        self._address, self._port = address, port
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def nodes(self, timeout: float = 3) -> dict[str, NodeState]:
        document = self._get("/api/v1/nodes", timeout)
        return {node.name: node for node in map(node_state, document.get("items") or [])}

    def renewals(self, timeout: float = 3) -> dict[str, str]:
        """When each node's kubelet last renewed its Lease, in the lab's own time."""
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        leases = self._get(path, timeout).get("items") or []
        return {x["metadata"]["name"]: x.get("spec", {}).get("renewTime", "") for x in leases}

    def mark_control_plane(self, node: str, timeout: float = 3) -> None:
        """Give a master its role label, as kubeadm's phase of that name does."""
        self._call("PATCH", f"/api/v1/nodes/{node}", timeout, _MARK)

    def _get(self, path: str, timeout: float) -> dict[str, Any]:
        return self._call("GET", path, timeout)

    def _call(
        self, method: str, path: str, timeout: float, body: bytes | None = None
    ) -> dict[str, Any]:
        connection = _Connection(self._address, self._port, timeout, self._context)
        headers = _HEADERS | ({"Content-Type": _MERGE_PATCH} if body else {})
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise ApiUnavailable(f"{path}: HTTP {response.status}")
            document: dict[str, Any] = json.load(response)
            return document
        except (OSError, ValueError, HTTPException) as error:
            raise ApiUnavailable(str(error) or type(error).__name__) from error
        finally:
            connection.close()


_MERGE_PATCH = "application/merge-patch+json"
_MARK = json.dumps({"metadata": {"labels": {CONTROL_PLANE: ""}}}).encode()
_HEADERS = {"Accept": "application/json", "User-Agent": "muster"}


class _Connection(HTTPSConnection):
    """Checks the server's certificate for a name that every api-server of a lab has, and none of
    another lab's CA: from outside a cloud, its address is not in the certificate."""

    def __init__(self, address: str, port: int, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(address, port, timeout=timeout, context=context)
        self._tls = context

    def connect(self) -> None:
        raw = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._tls.wrap_socket(raw, server_hostname=SERVER_NAME)
        except BaseException:
            raw.close()
            raise


def node_state(node: dict[str, Any]) -> NodeState:
    """A v1 Node reduced to what users ask about machines."""
    status = node.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or []}
    ready = conditions.get("Ready", {})
    return NodeState(
        name=node["metadata"]["name"],
        ready=ready.get("status") == "True",
        why=ready.get("message") or ready.get("reason") or "no Ready condition yet",
        version=(status.get("nodeInfo") or {}).get("kubeletVersion", ""),
        pod_cidr=(node.get("spec") or {}).get("podCIDR", ""),
        is_control_plane=CONTROL_PLANE in (node["metadata"].get("labels") or {}),
    )
