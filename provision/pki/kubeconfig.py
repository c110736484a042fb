"""Kubeconfig documents (client-go's v1 Config) with embedded certificates."""

from __future__ import annotations

import base64
from typing import Any

import yaml

from provision.pki.authority import KeyPair


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def cluster_stanza(server: str, ca: bytes, tls_server_name: str = "") -> dict[str, Any]:
    """`tls_server_name`: the name to verify where `server` is not one of the certificate's."""
    stanza = {"certificate-authority-data": _encoded(ca), "server": server}
    return stanza | ({"tls-server-name": tls_server_name} if tls_server_name else {})


def user_stanza(pair: KeyPair) -> dict[str, Any]:
    return {
        "client-certificate-data": _encoded(pair.cert),
        "client-key-data": _encoded(pair.key),
    }


def document(
    name: str, cluster: dict[str, Any], user: dict[str, Any], user_name: str = ""
) -> dict[str, Any]:
    """A whole kubeconfig with one context, made the current one."""
    who = user_name or name
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": who}}],
        "users": [{"name": who, "user": user}],
    }


def kubeconfig_bytes(name: str, server: str, ca: bytes, pair: KeyPair, user_name: str) -> bytes:
    """The identity of one component, as a file for its `--kubeconfig`."""
    content = document(name, cluster_stanza(server, ca), user_stanza(pair), user_name)
    return yaml.safe_dump(content, sort_keys=False).encode()
