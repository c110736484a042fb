"""Pods that attack their node: containers with the machine's Python, and a volume they share."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from kube.api import core
from kube.machinery import scheme
from tests.component.kubelet_harness import NODE
from tests.component.runtime_harness import BUSYBOX

# The machine's own Python, for what busybox cannot do.
_PYTHON = {"usr": "/usr", "lib": "/usr/lib", "lib64": "/usr/lib64"}
# Exchanges two names as fast as it can: what is a directory now is a link in the next moment.
FLIP = """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    AT_FDCWD, RENAME_EXCHANGE = -100, 2
    def flip(a, b):
        libc.renameat2(AT_FDCWD, a.encode(), AT_FDCWD, b.encode(), RENAME_EXCHANGE)
"""


def shell(name: str, script: str, *mounts: str, **fields: Any) -> dict[str, Any]:
    """A busybox container. A mount is VOLUME:PATH or VOLUME:PATH:SUBPATH."""
    return {
        "name": name,
        "image": BUSYBOX,
        "command": ["sh", "-c", script],
        "volumeMounts": [_mount(text) for text in mounts],
    } | fields


def python(name: str, script: str, *mounts: str, **fields: Any) -> dict[str, Any]:
    """A container that runs a Python program."""
    own = [f"{volume}:/{volume}" for volume in _PYTHON]
    made = shell(name, "", *mounts, *own, **fields)
    return made | {"command": ["/usr/bin/python3", "-u", "-c", textwrap.dedent(script)]}


def _mount(text: str) -> dict[str, Any]:
    volume, path, *sub_path = text.split(":")
    return {"name": volume, "mountPath": path} | ({"subPath": sub_path[0]} if sub_path else {})


def attacker(name: str, *containers: dict[str, Any], **spec: Any) -> core.Pod:
    """A pod with an emptyDir `v`, what Python needs, and the volumes that `volumes` adds."""
    volumes = [{"name": "v", "emptyDir": {}}, *spec.pop("volumes", ())]
    volumes += [{"name": n, "hostPath": {"path": path}} for n, path in _PYTHON.items()]
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 1,
            "restartPolicy": "Never",
            "containers": list(containers),
            "volumes": volumes,
        }
        | spec,
    }
    return scheme.decode(core.Pod, json.dumps(document))


def message(pod: core.Pod, container: str) -> str | None:
    """The termination message of a container that has ended; None of one that has not."""
    for status in pod.status.container_statuses:
        if status.name == container and status.state and status.state.terminated:
            return status.state.terminated.message
    return None
