"""What differs from kind to kind. The base class is the ordinary kind; all methods are pure."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from kube.api.meta import DeleteOptions, StatusCause
from kube.machinery.scheme import ApiObject, Resource
from master.apiserver.registry.validation.metadata import dns_subdomain

T = TypeVar("T", bound=ApiObject)
Causes = list[StatusCause]


class Strategy(Generic[T]):
    """Order of use on create: prepare_create, default, validate; on update: default,
    prepare_update, validate, validate_update."""

    # A PUT without resourceVersion overwrites whatever is there.
    allow_unconditional_update = True
    # metadata.generation counts the changes of spec.
    has_generation = False
    # The whole object is returned by DELETE, not a Status.
    returns_deleted = False
    # Objects vanish by themselves after this long (events).
    ttl_seconds = 0

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    def default(self, obj: T) -> T:
        return obj

    def prepare_create(self, obj: T) -> T:
        """Clear what clients may not set; set what the system knows."""
        return obj

    def prepare_update(self, new: T, old: T) -> T:
        """Take over from `old` what this endpoint may not change (status)."""
        return new

    def prepare_status(self, new: T, old: T) -> T:
        """What the status endpoint may change: the status, and metadata."""
        return new

    def check_name(self, name: str) -> str | None:
        """What is wrong with the name, if anything."""
        return dns_subdomain(name)

    def validate(self, obj: T) -> Causes:
        return []

    def validate_update(self, new: T, old: T) -> Causes:
        return []

    def validate_status(self, obj: T) -> Causes:
        """What the status endpoint wrote; the rest was judged when it was written."""
        return self.validate(obj)

    def spec_of(self, obj: T) -> msgspec.Struct | None:
        """What `generation` counts the changes of."""
        return getattr(obj, "spec", None)

    def grace_seconds(self, obj: T, options: DeleteOptions) -> int | None:
        """How long the object may take to die; None: this kind does not die gracefully."""
        return None

    def mark_deleted(self, obj: T) -> T:
        """What else shows that the object is dying (a namespace's phase)."""
        return obj

    def may_delete(self, name: str) -> bool:
        """False for what the cluster itself stands on."""
        return True

    def holds(self, obj: T) -> bool:
        """Whether something beside metadata.finalizers keeps a dying object."""
        return False


class StatusStrategy(Strategy[T]):
    """A kind with a `status` that only the status endpoint changes."""

    # By getattr: T also stands for kinds that have no spec or status; those use other strategies.
    def prepare_update(self, new: T, old: T) -> T:
        return msgspec.structs.replace(new, status=getattr(old, "status"))  # noqa: B009 - T may lack it

    def prepare_status(self, new: T, old: T) -> T:
        return msgspec.structs.replace(new, spec=getattr(old, "spec"))  # noqa: B009 - T may lack it
