"""Which lists merge by a key, from the types' published `patchMergeKey` and `patchStrategy`.

`Shape` walks an API type beside a JSON value, so that a list deep in a patch knows its key.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from master.apiserver.decoding.shapes import fields_of

# (type, field) -> the key that identifies an element. "" = a list of primitives that merges.
MERGE_KEYS: dict[tuple[str, str], str] = {
    ("ObjectMeta", "finalizers"): "",
    ("ObjectMeta", "ownerReferences"): "uid",
    ("PodSpec", "containers"): "name",
    ("PodSpec", "initContainers"): "name",
    ("PodSpec", "ephemeralContainers"): "name",
    ("PodSpec", "volumes"): "name",
    ("PodSpec", "imagePullSecrets"): "name",
    ("PodSpec", "hostAliases"): "ip",
    ("PodSpec", "topologySpreadConstraints"): "topologyKey",
    ("PodSpec", "schedulingGates"): "name",
    ("PodSpec", "resourceClaims"): "name",
    ("Container", "ports"): "containerPort",
    ("Container", "env"): "name",
    ("Container", "volumeMounts"): "mountPath",
    ("Container", "volumeDevices"): "devicePath",
    ("EphemeralContainer", "ports"): "containerPort",
    ("EphemeralContainer", "env"): "name",
    ("EphemeralContainer", "volumeMounts"): "mountPath",
    ("EphemeralContainer", "volumeDevices"): "devicePath",
    ("PodStatus", "conditions"): "type",
    ("PodStatus", "podIPs"): "ip",
    ("PodStatus", "hostIPs"): "ip",
    ("PodStatus", "resourceClaimStatuses"): "name",
    ("NodeSpec", "podCIDRs"): "",
    ("NodeStatus", "conditions"): "type",
    ("NodeStatus", "addresses"): "type",
    ("NamespaceStatus", "conditions"): "type",
    ("ServiceSpec", "ports"): "port",
    ("ServiceStatus", "conditions"): "type",
    ("ServiceAccount", "secrets"): "name",
    ("ServiceAccount", "imagePullSecrets"): "name",
    ("DeploymentStatus", "conditions"): "type",
    ("ReplicaSetStatus", "conditions"): "type",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known about a JSON value: the struct type of it, or of its elements."""

    type: type[msgspec.Struct] | None = None

    def field(self, name: str) -> Shape:
        known = fields_of(self.type).get(name) if self.type else None
        return Shape(known.struct) if known else Shape()

    def has(self, name: str) -> bool:
        """Whether the type has such a field; a value of unknown type may have any."""
        return self.type is None or name in fields_of(self.type)

    def merge_key(self, name: str) -> str | None:
        """The key of the list field `name`; "" merges primitives, None replaces the list."""
        return MERGE_KEYS.get((self.type.__name__, name)) if self.type else None
