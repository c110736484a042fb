"""The user's way into the lab: a context in the kubeconfig, and the same as a file of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from provision import kubeconfig
from provision.payload.masters import REST_PORT
from provision.phases.ready import api_address
from provision.phases.session import Session
from provision.pki.authority import KeyPair
from provision.pki.kubeconfig import cluster_stanza, document, user_stanza
from provision.state import write_private


async def admin_document(session: Session) -> dict[str, Any]:
    """The administrator's kubeconfig for this lab, everything embedded."""
    record, pki = session.record, session.directory.pki
    address = await api_address(session)
    # The certificate names the lab's own addresses; from outside a cloud, one of its names.
    name = "" if address == record.endpoint else "kubernetes"
    cluster = cluster_stanza(f"https://{address}:{REST_PORT}", (pki / "ca.crt").read_bytes(), name)
    pair = KeyPair((pki / "admin.crt").read_bytes(), (pki / "admin.key").read_bytes())
    return document(kubeconfig.context_name(record.name), cluster, user_stanza(pair))


async def install_access(session: Session) -> list[Path]:
    """Write admin.conf and merge the context. Returns the user's files that changed."""
    ours = await admin_document(session)
    content = yaml.safe_dump(ours, sort_keys=False).encode()
    write_private(session.directory.kubeconfig, content)
    return kubeconfig.install(session.record.name, ours, os.environ)
