"""Which labels a kubelet may set on its own Node: what NodeRestriction and its flags ask. Pure.

Labels steer pods, so what says where a node stands in the cluster is the administrator's: of
kubernetes.io and k8s.io a kubelet has the following alone, of other domains all.
"""

from __future__ import annotations

KUBELET_LABELS = frozenset({
    "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch",
    "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type",
})  # fmt: skip
KUBELET_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
RESTRICTED_DOMAIN = "node-restriction.kubernetes.io"


def is_kubelets(key: str) -> bool:
    """Whether a kubelet may set this label on its Node."""
    prefix, slash, _ = key.partition("/")
    domain = prefix if slash else ""
    if _within(domain, RESTRICTED_DOMAIN):
        return False
    if not (_within(domain, "kubernetes.io") or _within(domain, "k8s.io")):
        return True
    return key in KUBELET_LABELS or any(_within(domain, own) for own in KUBELET_DOMAINS)


def _within(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")
