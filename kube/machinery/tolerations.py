"""Which toleration lets a pod stand which taint (core/v1 ToleratesTaint). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import Taint, Toleration


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """No effect means every effect; no key, with Exists, every key."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def tolerated(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Whether any of them does."""
    return any(tolerates(toleration, taint) for toleration in tolerations)
