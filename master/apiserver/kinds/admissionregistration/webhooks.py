"""MutatingWebhookConfigurations and ValidatingWebhookConfigurations. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from kube.api.admissionregistration import (
    MutatingWebhook,
    MutatingWebhookConfiguration,
    RuleWithOperations,
    ValidatingWebhook,
    ValidatingWebhookConfiguration,
    WebhookClientConfig,
)
from kube.api.meta import LabelSelector
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import value_or
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind
from master.apiserver.registry.validation.webhooks import validate_webhooks

TIMEOUT_SECONDS, PORT = 10, 443
COLUMNS = columns("Name Webhooks# Age")
Configuration = MutatingWebhookConfiguration | ValidatingWebhookConfiguration
H = TypeVar("H", MutatingWebhook, ValidatingWebhook)


def default_mutating(obj: MutatingWebhookConfiguration) -> MutatingWebhookConfiguration:
    hooks = (
        replace(_hook(hook), reinvocation_policy=hook.reinvocation_policy or "Never")
        for hook in obj.webhooks
    )
    return replace(obj, webhooks=tuple(hooks))


def default_validating(obj: ValidatingWebhookConfiguration) -> ValidatingWebhookConfiguration:
    return replace(obj, webhooks=tuple(_hook(hook) for hook in obj.webhooks))


def _hook(hook: H) -> H:
    return replace(
        hook,
        failure_policy=hook.failure_policy or "Fail",
        match_policy=hook.match_policy or "Equivalent",
        namespace_selector=hook.namespace_selector or LabelSelector(),
        object_selector=hook.object_selector or LabelSelector(),
        timeout_seconds=value_or(hook.timeout_seconds, TIMEOUT_SECONDS),
        rules=tuple(_rule(rule) for rule in hook.rules),
        client_config=hook.client_config and _client(hook.client_config),
    )


def _rule(rule: RuleWithOperations) -> RuleWithOperations:
    return replace(rule, scope=rule.scope or "*")


def _client(client: WebhookClientConfig) -> WebhookClientConfig:
    service = client.service
    if service is None or service.port is not None:
        return client
    return replace(client, service=replace(service, port=PORT))


def counted(obj: Configuration) -> object:
    return obj.webhooks


def cells(obj: Configuration, now: datetime) -> Cells:
    created = age(obj.metadata.creation_timestamp, now)
    return [obj.metadata.name, len(obj.webhooks), created]


MUTATING = Kind(
    resource=resource_for(MutatingWebhookConfiguration),
    columns=COLUMNS,
    cells=cells,
    default=default_mutating,
    validate=validate_webhooks,
    counted=counted,
)
VALIDATING = Kind(
    resource=resource_for(ValidatingWebhookConfiguration),
    columns=COLUMNS,
    cells=cells,
    default=default_validating,
    validate=validate_webhooks,
    counted=counted,
)
