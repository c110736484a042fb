"""What a kind is to the api-server, said in one declaration. All its functions are pure. Pure.

A kind's file holds the functions and a `KIND` that names them; nothing else of the api-server
names the kind. What its objects are called and made of is generated (`kube.api`) or stands in
the scheme, which clients read too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

import msgspec

from kube.api.meta import DeleteOptions, StatusCause
from kube.machinery.schema import Schema
from kube.machinery.scheme import ApiObject, Resource
from master.apiserver.decoding.codec import Codec, codec_of
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, Column, columns
from master.apiserver.kinds.fields import Fields
from master.apiserver.kinds.parts.subresource import Subresource
from master.apiserver.kinds.settings import Settings
from master.apiserver.registry.validation.metadata import dns_subdomain

T = TypeVar("T", bound=ApiObject)
Causes = list[StatusCause]
# Where kube-apiserver keeps everything.
ROOT = "/registry/"
# Returns a number in [0, n).
Choose = Callable[[int], int]
# What is owned already, by the prefix of its claim.
Taken = Mapping[str, Set[str]]


class Exhausted(Exception):
    """Everything that could be claimed is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims(Generic[T]):
    """What no two objects may own at once, such as an address.

    A claim is a key in the store that is written by the same Txn as its owner, so two api-servers
    can never give the same one twice and none leaks: the Txn of the slower one fails on its
    compare, and it chooses again.
    """

    # `ipaddresses/`: where the claims lie below the store's root.
    prefixes: tuple[str, ...]
    # `ipaddresses/10.96.0.7`: what the object owns.
    owned: Callable[[T], frozenset[str]]
    # What is wrong with what the client chose itself.
    judge: Callable[[T, Settings], Causes]
    # The object with all that it needs. Raises Exhausted.
    fill: Callable[[T, Settings, Taken, Choose], T]
    # What the client hears who chose a claim that another object owns.
    refused: Callable[[str], StatusCause]


def unchanged(obj: T) -> T:
    return obj


def as_wanted(new: T, _: T) -> T:
    """An update changes all that it says."""
    return new


def keep_status(new: T, old: T) -> T:
    """Only the status endpoint changes the status."""
    # By getattr: T also stands for kinds without a status, which declare something else.
    return msgspec.structs.replace(new, status=getattr(old, "status"))  # noqa: B009


def keep_spec(new: T, old: T) -> T:
    """The status endpoint changes the status, and metadata."""
    return msgspec.structs.replace(new, spec=getattr(old, "spec"))  # noqa: B009 - as above


def spec_of(obj: ApiObject) -> msgspec.Struct | None:
    return getattr(obj, "spec", None)


def all_valid(_: ApiObject) -> Causes:
    return []


def any_change(_: ApiObject, __: ApiObject) -> Causes:
    return []


def at_once(_: ApiObject, __: DeleteOptions) -> int | None:
    """This kind does not die gracefully."""
    return None


def nothing_more(_: ApiObject) -> bool:
    return False


def name_and_age(obj: ApiObject, now: datetime) -> Cells:
    return [obj.metadata.name, age(obj.metadata.creation_timestamp, now)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion(Generic[T]):
    """How a version that is not the stored one becomes it, and back. Only the decoding, the
    defaults and the answers of a request know such a version; all else works on the stored one."""

    kind: Kind[Any]
    to_stored: Callable[[T], Any]
    from_stored: Callable[[Any], T]


# Compared and hashed by identity: a changed declaration is another kind.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind(Generic[T]):
    """On create the order is default, admission (and default again), on_create, validate; on update
    default, admission, on_update, validate, validate_update; on an update of a subresource
    admission, then on_status and validate_status if it is the status."""

    resource: Resource
    # How its JSON is read and written; made of the resource's type if it is not given.
    codec: Codec = field(default=cast(Codec, None))
    # Of a version that is not stored as it is.
    conversion: Conversion[T] | None = None

    # What `kubectl get` shows, and what field selectors may name.
    columns: tuple[Column, ...] = columns("Name Age")
    cells: Callable[[T, datetime], Cells] = name_and_age
    fields: Fields = field(default_factory=Fields)
    # The field by whose value watches are sorted: those that pin it hear of nothing else, and
    # lists that do need not look at everything.
    watched_by: str = ""

    default: Callable[[T], T] = unchanged
    # Clears what clients may not set; sets what the system knows.
    on_create: Callable[[T], T] = unchanged
    # Both take over from the old object what this endpoint may not change.
    on_update: Callable[[T, T], T] = as_wanted
    on_status: Callable[[T, T], T] = as_wanted

    # What is wrong with a name, if anything.
    check_name: Callable[[str], str | None] = dns_subdomain
    validate: Callable[[T], Causes] = all_valid
    validate_update: Callable[[T, T], Causes] = any_change
    # What the status endpoint wrote; None: the whole object is judged.
    validate_status: Callable[[T], Causes] | None = None

    # A PUT without resourceVersion overwrites whatever is there.
    unconditional_update: bool = True
    # What metadata.generation counts the changes of; None: the kind has no generation.
    counted: Callable[[T], object] | None = None
    # How many maps, lists and scalars an object may have together; 0: as many as any.
    max_values: int = 0
    # Objects vanish by themselves after this long.
    ttl_seconds: int = 0

    # How long the object may take to die.
    grace_seconds: Callable[[T, DeleteOptions], int | None] = at_once
    # What else shows that the object is dying.
    mark_deleted: Callable[[T], T] = unchanged
    # Whether something beside metadata.finalizers keeps a dying object.
    holds: Callable[[T], bool] = nothing_more
    # Dependents stay when the one who deletes says nothing of them: kinds older than owners.
    orphans: bool = False
    # DELETE answers with the object that is gone, not with a Status.
    answers_deleted: bool = False

    subresources: tuple[Subresource, ...] = ()

    # Where the objects lie below the store's root; empty: under their plural name.
    stored_under: str = ""
    claims: Claims[T] | None = None

    # Why nothing new is made; empty: new objects are welcome.
    closed: str = ""

    # Made of the others.
    prefix: str = field(init=False)  # of its keys in the store
    head: bytes = field(init=False)  # how its stored values begin

    def __post_init__(self) -> None:
        resource, stored = self.resource, self.stored
        if self.codec is None:
            object.__setattr__(self, "codec", codec_of(resource.type))
        under = stored.stored_under or stored.resource.plural
        object.__setattr__(self, "prefix", f"{ROOT}{under}/")
        head = f'{{"apiVersion":"{resource.api_version}","kind":"{resource.kind}","metadata":{{'
        object.__setattr__(self, "head", head.encode())

    @property
    def stored(self) -> Kind[Any]:
        """The version that the store holds."""
        return self.conversion.kind if self.conversion else self

    @property
    def schema(self) -> Schema:
        return self.codec.schema

    def subresource(self, name: str) -> Subresource | None:
        return next((part for part in self.subresources if part.name == name), None)


AnyKind = Kind[Any]
