"""The downward API: pod fields and container resources as text, for env and volumes. Pure."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING

from kube.api import core
from kube.machinery.qos import limits_of, requests_of
from kube.machinery.quantity import parse

_SUBSCRIPT = re.compile(r"metadata\.(annotations|labels)\['([^']*)'\]")


class FieldError(Exception):
    """The selector names no field that the downward API offers."""


def field_value(pod: core.Pod, path: str) -> str:
    """The value of `metadata.name`, `metadata.labels['app']`, `status.podIP`, ..."""
    if match := _SUBSCRIPT.fullmatch(path):
        source = pod.metadata.labels if match[1] == "labels" else pod.metadata.annotations
        return source.get(match[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        source = pod.metadata.labels if path.endswith("labels") else pod.metadata.annotations
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(source.items()))
    values = _fields(pod)
    if path not in values:
        raise FieldError(f"unsupported fieldPath: {path}")
    return values[path]


def _fields(pod: core.Pod) -> dict[str, str]:
    return {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": pod.status.host_ip,
        "status.hostIPs": ",".join(ip.ip for ip in pod.status.host_ips),
        "status.podIP": pod.status.pod_ip,
        "status.podIPs": ",".join(ip.ip for ip in pod.status.pod_ips),
    }


def _quoted(text: str) -> str:
    """Go's %q, as far as label and annotation values need it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'


def resource_value(
    pod: core.Pod,
    container: core.Container,
    selector: core.ResourceFieldSelector,
    allocatable: dict[str, int],
) -> str:
    """`limits.cpu` and friends divided by the divisor, rounded up.

    A missing limit reads as the node's allocatable (CPU in thousandths, the rest in units).
    """
    if selector.container_name:
        container = _container_named(pod, selector.container_name)
    kind, _, name = selector.resource.partition(".")
    if kind not in ("limits", "requests") or name not in ("cpu", "memory", "ephemeral-storage"):
        raise FieldError(f"unsupported container resource : {selector.resource}")
    source = limits_of(container) if kind == "limits" else requests_of(container)
    value = parse(source.get(name, 0))
    if not value and kind == "limits":
        value = parse(f"{allocatable.get(name, 0)}m" if name == "cpu" else allocatable.get(name, 0))
    divisor = parse(selector.divisor or 1) or parse(1)
    return str(int((value / divisor).to_integral_value(ROUND_CEILING)))


def _container_named(pod: core.Pod, name: str) -> core.Container:
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        if container.name == name:
            return container
    raise FieldError(f"container {name} not found")
