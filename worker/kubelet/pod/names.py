"""Names that the kubelet, the runtime and people's tools agree on: labels, paths, hashes.

Labels and annotations are upstream's (`pkg/kubelet/types/labels.go`, `kuberuntime/labels.go`),
so crictl, log shippers and a stock kubelet read our containers. Pure.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from kube.api import core

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
CONTAINER_HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
TERMINATION_PATH = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY = "io.kubernetes.container.terminationMessagePolicy"
POD_GRACE = "io.kubernetes.pod.terminationGracePeriod"

DEFAULT_GRACE_SECONDS = 30
DEFAULT_TERMINATION_PATH = "/dev/termination-log"


def container_hash(container: core.Container) -> str:
    """Identifies the container's spec: it must be restarted when this changes.

    Only name and image count, as upstream since 1.28: the other fields of a running pod are
    immutable, and defaults that a newer api-server adds must not restart anything.
    """
    text = f"{container.name}\0{container.image}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def pod_key(pod: core.Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def pod_dir(root: Path, uid: str) -> Path:
    return root / "pods" / uid


def pod_log_dir(logs: Path, namespace: str, name: str, uid: str) -> Path:
    return logs / f"{namespace}_{name}_{uid}"


def log_path(container: str, attempt: int) -> str:
    """The log file of one run of a container, relative to the pod's log directory."""
    return f"{container}/{attempt}.log"


def grace_seconds(pod: core.Pod) -> int:
    """How long the pod may take to end: the deletion's grace if there is one, else its own."""
    if pod.metadata.deletion_grace_period_seconds is not None:
        return pod.metadata.deletion_grace_period_seconds
    if pod.spec.termination_grace_period_seconds is not None:
        return pod.spec.termination_grace_period_seconds
    return DEFAULT_GRACE_SECONDS
