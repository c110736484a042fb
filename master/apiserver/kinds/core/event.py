"""Events: they vanish after an hour. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from kube.api.core import Event, EventSource, ObjectReference
from kube.machinery.scheme import resource_for
from kube.machinery.times import parse_time
from master.apiserver.kinds.cell import UNKNOWN, human_duration
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.fields import Fields, Part
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation import field

TTL_SECONDS = 3600


def validate(obj: Event) -> Causes:
    involved = obj.involved_object or ObjectReference()
    # Events about cluster-scoped objects live in `default`.
    if (involved.namespace or "default") != obj.metadata.namespace:
        return [
            field.invalid(
                "involvedObject.namespace",
                involved.namespace,
                "does not match event.namespace",
            )
        ]
    return []


class _Involved(Struct, rename="camel", frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class _Source(Struct, rename="camel", frozen=True):
    component: str = ""


class _Event(Part, rename="camel", frozen=True):
    involved_object: _Involved = _Involved()
    reason: str = ""
    reporting_component: str = ""
    source: _Source = _Source()
    type: str = ""


def selectable(event: _Event) -> dict[str, str]:
    involved = event.involved_object
    return {
        "involvedObject.kind": involved.kind,
        "involvedObject.namespace": involved.namespace,
        "involvedObject.name": involved.name,
        "involvedObject.uid": involved.uid,
        "involvedObject.apiVersion": involved.api_version,
        "involvedObject.resourceVersion": involved.resource_version,
        "involvedObject.fieldPath": involved.field_path,
        "reason": event.reason,
        "reportingComponent": event.reporting_component,
        "source": event.source.component or event.reporting_component,
        "type": event.type,
    }


def cells(obj: Event, now: datetime) -> Cells:
    involved = obj.involved_object or ObjectReference()
    source = obj.source or EventSource()
    target = f"{involved.kind.lower()}/{involved.name}" if involved.name else involved.kind.lower()
    first = obj.first_timestamp or obj.event_time
    count = obj.series.count if obj.series else obj.count
    last = obj.series.last_observed_time if obj.series else obj.last_timestamp
    where = [source.component or obj.reporting_component, source.host or obj.reporting_instance]
    return [
        _interval(last or first, first, count or 1, now),
        obj.type,
        obj.reason,
        target,
        involved.field_path,
        ", ".join(filter(None, where)),
        obj.message.strip(),
        _interval(first, first, 1, now),
        count or 1,
        obj.metadata.name,
    ]


def _interval(last: str, first: str, count: int, now: datetime) -> str:
    """`12s (x4 over 5m)` for events that were seen again."""
    when, since = parse_time(last), parse_time(first)
    if when is None:
        return UNKNOWN
    shown = human_duration((now - when).total_seconds())
    if count > 1 and since is not None:
        return f"{shown} (x{count} over {human_duration((now - since).total_seconds())})"
    return shown


KIND = Kind(
    resource=resource_for(Event),
    columns=columns(
        "Last_Seen Type Reason Object Subobject+ Source+ Message First_Seen+ Count#+ Name+"
    ),
    cells=cells,
    fields=Fields(_Event, selectable),
    validate=validate,
    ttl_seconds=TTL_SECONDS,
)
