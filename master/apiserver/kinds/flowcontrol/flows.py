"""FlowSchemas and PriorityLevelConfigurations (pkg/apis/flowcontrol/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.flowcontrol import (
    ExemptPriorityLevelConfiguration,
    FlowSchema,
    FlowSchemaStatus,
    LimitedPriorityLevelConfiguration,
    LimitResponse,
    PriorityLevelConfiguration,
    PriorityLevelConfigurationStatus,
    QueuingConfiguration,
)
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status, value_or
from master.apiserver.kinds.cell import NONE, age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.flowcontrol import (
    EXEMPT,
    LIMITED,
    validate_flow_schema,
    validate_priority_level,
)

PRECEDENCE, SHARES = 1000, 30
QUEUES, HAND_SIZE, QUEUE_LENGTH = 64, 8, 50


def default_schema(obj: FlowSchema) -> FlowSchema:
    precedence = value_or(obj.spec.matching_precedence, PRECEDENCE)
    return replace(obj, spec=replace(obj.spec, matching_precedence=precedence))


def default_level(obj: PriorityLevelConfiguration) -> PriorityLevelConfiguration:
    spec = obj.spec
    if spec.type == EXEMPT:
        exempt = spec.exempt or ExemptPriorityLevelConfiguration()
        exempt = ExemptPriorityLevelConfiguration(
            nominal_concurrency_shares=value_or(exempt.nominal_concurrency_shares, 0),
            lendable_percent=value_or(exempt.lendable_percent, 0),
        )
        return replace(obj, spec=replace(spec, exempt=exempt))
    if spec.type == LIMITED and spec.limited:
        return replace(obj, spec=replace(spec, limited=_limited(spec.limited)))
    return obj


def _limited(limited: LimitedPriorityLevelConfiguration) -> LimitedPriorityLevelConfiguration:
    response = limited.limit_response
    if response and response.type == "Queue":
        given = response.queuing or QueuingConfiguration()
        queuing = QueuingConfiguration(
            queues=value_or(given.queues, QUEUES),
            hand_size=value_or(given.hand_size, HAND_SIZE),
            queue_length_limit=value_or(given.queue_length_limit, QUEUE_LENGTH),
        )
        response = LimitResponse(type=response.type, queuing=queuing)
    return replace(
        limited,
        nominal_concurrency_shares=value_or(limited.nominal_concurrency_shares, SHARES),
        lendable_percent=value_or(limited.lendable_percent, 0),
        limit_response=response,
    )


def schema_cells(obj: FlowSchema, now: datetime) -> Cells:
    level, method = obj.spec.priority_level_configuration, obj.spec.distinguisher_method
    dangling = {c.type: c.status for c in obj.status.conditions}.get("Dangling", "?")
    return [
        obj.metadata.name,
        level.name if level else "",
        str(obj.spec.matching_precedence or 0),
        method.type if method else NONE,
        age(obj.metadata.creation_timestamp, now),
        dangling,
    ]


def level_cells(obj: PriorityLevelConfiguration, now: datetime) -> Cells:
    spec = obj.spec
    limits = spec.limited or spec.exempt
    shares = limits.nominal_concurrency_shares if limits else None
    response = spec.limited.limit_response if spec.limited else None
    queuing = (response.queuing if response else None) or QueuingConfiguration()
    return [
        obj.metadata.name,
        spec.type,
        _number(shares),
        _number(queuing.queues),
        _number(queuing.hand_size),
        _number(queuing.queue_length_limit),
        age(obj.metadata.creation_timestamp, now),
    ]


def _number(value: int | None) -> str:
    return NONE if value is None else str(value)


SCHEMA = Kind(
    resource=resource_for(FlowSchema),
    columns=columns("Name PriorityLevel MatchingPrecedence DistinguisherMethod Age MissingPL"),
    cells=schema_cells,
    default=default_schema,
    on_create=fresh_status(FlowSchemaStatus),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_flow_schema,
    counted=spec_of,
    subresources=(STATUS,),
)
LEVEL = Kind(
    resource=resource_for(PriorityLevelConfiguration),
    columns=columns("Name Type NominalConcurrencyShares Queues HandSize QueueLengthLimit Age"),
    cells=level_cells,
    default=default_level,
    on_create=fresh_status(PriorityLevelConfigurationStatus),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_priority_level,
    counted=spec_of,
    subresources=(STATUS,),
)
