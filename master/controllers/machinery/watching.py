"""Which keys a change concerns: the functions that `Controller.watch` is given. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kube.machinery.scheme import ApiObject, key_of
from master.controllers.machinery.ownership import controller_of

# Whether a change from one state to another (None: it is not there) concerns anybody.
Changed = Callable[[Any, Any], bool]


def own_key(obj: ApiObject) -> tuple[str, ...]:
    """The object's own."""
    return (key_of(obj),)


def own_namespace(obj: ApiObject) -> tuple[str, ...]:
    return (obj.metadata.namespace,)


def owner_of_kind(kind: str) -> Callable[[ApiObject], tuple[str, ...]]:
    """Of the object's controller, if that is a `kind` (in the same namespace)."""

    def key(obj: ApiObject) -> tuple[str, ...]:
        owner = controller_of(obj.metadata)
        if owner is None or owner.kind != kind:
            return ()
        return (f"{obj.metadata.namespace}/{owner.name}",)

    return key


def any_change(old: Any, new: Any) -> bool:
    return True


def exists(old: Any, new: Any) -> bool:
    """It came or changed."""
    return new is not None


def gone(old: Any, new: Any) -> bool:
    """It was deleted."""
    return new is None
