"""ConfigMaps. Pure."""

from __future__ import annotations

from kube.api.core import ConfigMap
from master.statemetrics.family import ONE, Family, StateKind
from master.statemetrics.metadata import created, identity, resource_version

KIND = StateKind(
    "configmaps",
    ConfigMap,
    identity("configmap"),
    (
        Family("kube_configmap_info", "A ConfigMap.", lambda _: (ONE,)),
        created("kube_configmap"),
        resource_version("kube_configmap"),
    ),
)
