"""Events as events.k8s.io has them: those of the core group, with other names of fields. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api import core, events
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.columns import Cells
from master.apiserver.kinds.core import event
from master.apiserver.kinds.kind import Conversion, Kind


def to_stored(obj: events.Event) -> core.Event:
    series = None
    if obj.series:
        count, last = obj.series.count, obj.series.last_observed_time
        series = core.EventSeries(count=count, last_observed_time=last)
    return core.Event(
        metadata=obj.metadata,
        action=obj.action,
        count=obj.deprecated_count,
        event_time=obj.event_time,
        first_timestamp=obj.deprecated_first_timestamp,
        involved_object=obj.regarding or core.ObjectReference(),
        last_timestamp=obj.deprecated_last_timestamp,
        message=obj.note,
        reason=obj.reason,
        related=obj.related,
        reporting_component=obj.reporting_controller,
        reporting_instance=obj.reporting_instance,
        series=series,
        source=obj.deprecated_source,
        type=obj.type,
    )


def from_stored(obj: core.Event) -> events.Event:
    series = None
    if obj.series:
        count, last = obj.series.count, obj.series.last_observed_time
        series = events.EventSeries(count=count, last_observed_time=last)
    return events.Event(
        metadata=obj.metadata,
        action=obj.action,
        deprecated_count=obj.count,
        deprecated_first_timestamp=obj.first_timestamp,
        deprecated_last_timestamp=obj.last_timestamp,
        deprecated_source=obj.source,
        event_time=obj.event_time,
        note=obj.message,
        reason=obj.reason,
        regarding=obj.involved_object,
        related=obj.related,
        reporting_controller=obj.reporting_component,
        reporting_instance=obj.reporting_instance,
        series=series,
        type=obj.type,
    )


def cells(obj: events.Event, now: datetime) -> Cells:
    return event.cells(to_stored(obj), now)


KIND = Kind(
    resource=resource_for(events.Event),
    columns=event.KIND.columns,
    cells=cells,
    conversion=Conversion(kind=event.KIND, to_stored=to_stored, from_stored=from_stored),
)
