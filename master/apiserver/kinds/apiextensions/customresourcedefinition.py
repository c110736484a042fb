"""CustomResourceDefinitions: kinds that come at run time (master/apiserver/extensions). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.apiextensions import (
    CustomResourceConversion,
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
)
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.metadata import with_meta
from master.apiserver.registry.validation.definitions import (
    validate_definition,
    validate_definition_update,
)

# The largest that is in wide use, Argo CD's ApplicationSet, has 24,000.
MAX_VALUES = 40_000
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


def default(obj: CustomResourceDefinition) -> CustomResourceDefinition:
    spec = obj.spec
    names = spec.names or CustomResourceDefinitionNames()
    names = replace(
        names,
        singular=names.singular or names.kind.lower(),
        list_kind=names.list_kind or (f"{names.kind}List" if names.kind else ""),
    )
    conversion = spec.conversion or CustomResourceConversion(strategy="None")
    return replace(obj, spec=replace(spec, names=names, conversion=conversion))


def on_create(obj: CustomResourceDefinition) -> CustomResourceDefinition:
    stored = tuple(version.name for version in obj.spec.versions if version.storage)
    return replace(obj, status=CustomResourceDefinitionStatus(stored_versions=stored))


def on_update(
    new: CustomResourceDefinition, old: CustomResourceDefinition
) -> CustomResourceDefinition:
    new = keep_status(new, old)
    known = old.status.stored_versions
    added = [v.name for v in new.spec.versions if v.storage and v.name not in known]
    return replace(new, status=replace(new.status, stored_versions=(*known, *added)))


def mark_deleted(obj: CustomResourceDefinition) -> CustomResourceDefinition:
    """Its instances go first: the finalizer holds it until they are gone."""
    finalizers = obj.metadata.finalizers
    if FINALIZER not in finalizers:
        obj = with_meta(obj, finalizers=(*finalizers, FINALIZER))
    terminating = CustomResourceDefinitionCondition(
        type="Terminating",
        status="True",
        reason="InstanceDeletionPending",
        message="CustomResourceDefinition marked for deletion; CustomResource deletion will begin "
        "soon",
        last_transition_time=obj.metadata.deletion_timestamp,
    )
    return with_condition(obj, terminating)


def holds(obj: CustomResourceDefinition) -> bool:
    """Until it has been marked, and its finalizer has come and gone."""
    return not obj.metadata.deletion_timestamp


def with_condition(
    obj: CustomResourceDefinition, new: CustomResourceDefinitionCondition
) -> CustomResourceDefinition:
    """The condition in its place; its time stays while its status does."""
    conditions = []
    for old in obj.status.conditions:
        if old.type != new.type:
            conditions.append(old)
        elif old.status == new.status:
            new = replace(new, last_transition_time=old.last_transition_time)
    return replace(obj, status=replace(obj.status, conditions=(*conditions, new)))


def is_true(obj: CustomResourceDefinition, type_: str) -> bool:
    return any(c.type == type_ and c.status == "True" for c in obj.status.conditions)


def cells(obj: CustomResourceDefinition, _: datetime) -> Cells:
    return [obj.metadata.name, obj.metadata.creation_timestamp]


KIND = Kind(
    resource=resource_for(CustomResourceDefinition),
    columns=columns("Name Created_At"),
    cells=cells,
    default=default,
    on_create=on_create,
    on_update=on_update,
    on_status=keep_spec,
    validate=validate_definition,
    validate_update=validate_definition_update,
    counted=spec_of,
    max_values=MAX_VALUES,
    mark_deleted=mark_deleted,
    holds=holds,
    subresources=(STATUS,),
)
