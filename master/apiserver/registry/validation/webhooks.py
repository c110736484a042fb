"""Validation of webhook configurations (pkg/apis/admissionregistration/validation). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from urllib.parse import urlsplit

from kube.api.admissionregistration import (
    MatchCondition,
    MutatingWebhook,
    MutatingWebhookConfiguration,
    ServiceReference,
    ValidatingWebhook,
    ValidatingWebhookConfiguration,
    WebhookClientConfig,
)
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import (
    dns_1035,
    dns_subdomain,
    qualified_name,
)
from master.apiserver.registry.validation.selectors import validate_selector

Causes = list[StatusCause]
_REVIEWS = ("v1", "v1beta1")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
FAILURES = ("Fail", "Ignore")
MATCHES = ("Equivalent", "Exact")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
REINVOCATIONS = ("IfNeeded", "Never")
MAX_TIMEOUT, MAX_CONDITIONS = 30, 64
_URL_FORM = "; desired format: https://host[/path]"


class Rule(Protocol):
    """What the rules of webhooks and of policies have."""

    @property
    def api_groups(self) -> tuple[str, ...]: ...
    @property
    def api_versions(self) -> tuple[str, ...]: ...
    @property
    def operations(self) -> tuple[str, ...]: ...
    @property
    def resources(self) -> tuple[str, ...]: ...
    @property
    def scope(self) -> str: ...


def validate_webhooks(
    obj: MutatingWebhookConfiguration | ValidatingWebhookConfiguration,
) -> Causes:
    causes: Causes = []
    names: set[str] = set()
    hooks: tuple[MutatingWebhook | ValidatingWebhook, ...] = obj.webhooks
    for index, hook in enumerate(hooks):
        path = f"webhooks[{index}]"
        causes += _hook(hook, path)
        if hook.name in names:
            causes.append(field.duplicate(f"{path}.name", hook.name))
        names.add(hook.name)
    return causes


def _hook(hook: MutatingWebhook | ValidatingWebhook, path: str) -> Causes:
    causes = validate_full_name(hook.name, f"{path}.name")
    causes += _review_versions(hook.admission_review_versions, f"{path}.admissionReviewVersions")
    for index, rule in enumerate(hook.rules):
        causes += validate_rule(rule, f"{path}.rules[{index}]")
    causes += _one_of(hook.failure_policy, FAILURES, f"{path}.failurePolicy")
    causes += _one_of(hook.match_policy, MATCHES, f"{path}.matchPolicy")
    causes += _side_effects(hook.side_effects, f"{path}.sideEffects")
    seconds = hook.timeout_seconds
    if seconds is not None and not 1 <= seconds <= MAX_TIMEOUT:
        text = f"the timeout value must be between 1 and {MAX_TIMEOUT} seconds"
        causes.append(field.invalid(f"{path}.timeoutSeconds", seconds, text))
    causes += validate_selector(hook.namespace_selector, f"{path}.namespaceSelector")
    causes += validate_selector(hook.object_selector, f"{path}.objectSelector")
    if isinstance(hook, MutatingWebhook):
        causes += _one_of(hook.reinvocation_policy, REINVOCATIONS, f"{path}.reinvocationPolicy")
    causes += validate_conditions(hook.match_conditions, f"{path}.matchConditions")
    return causes + _client(hook.client_config or WebhookClientConfig(), f"{path}.clientConfig")


def _one_of(value: str, choices: tuple[str, ...], path: str) -> Causes:
    return [] if not value or value in choices else [field.not_supported(path, value, choices)]


def validate_full_name(name: str, path: str) -> Causes:
    """A domain of three parts or more (IsFullyQualifiedName)."""
    if not name:
        return [field.required(path)]
    if why := dns_subdomain(name):
        return [field.invalid(path, name, why)]
    if name.count(".") < 2:
        text = "should be a domain with at least three segments separated by dots"
        return [field.invalid(path, name, text)]
    return []


def _review_versions(versions: tuple[str, ...], path: str) -> Causes:
    if not versions:
        return [field.required(path, f"must specify one of {', '.join(_REVIEWS)}")]
    causes: Causes = []
    for index, version in enumerate(versions):
        if why := dns_1035(version):
            causes.append(field.invalid(f"{path}[{index}]", version, why))
        if version in versions[:index]:
            causes.append(field.invalid(f"{path}[{index}]", version, "duplicate version"))
    if not set(versions) & set(_REVIEWS):
        text = f"must include at least one of {', '.join(_REVIEWS)}"
        causes.append(field.invalid(path, list(versions), text))
    return causes


def _side_effects(value: str, path: str) -> Causes:
    if not value:
        return [field.required(path, f"must specify one of {', '.join(_SIDE_EFFECTS)}")]
    return _one_of(value, _SIDE_EFFECTS, path)


def validate_rule(rule: Rule, path: str) -> Causes:
    causes = _operations(rule.operations, f"{path}.operations")
    causes += _words(rule.api_groups, f"{path}.apiGroups", "API groups", empty=True)
    causes += _words(rule.api_versions, f"{path}.apiVersions", "API versions")
    causes += _resources(rule.resources, f"{path}.resources")
    return causes + _one_of(rule.scope, _SCOPES, f"{path}.scope")


def _operations(operations: tuple[str, ...], path: str) -> Causes:
    if not operations:
        return [field.required(path)]
    causes = [
        field.not_supported(f"{path}[{index}]", one, _OPERATIONS)
        for index, one in enumerate(operations)
        if one not in _OPERATIONS
    ]
    if "*" in operations and len(operations) > 1:
        text = "if '*' is present, must not specify other operations"
        causes.append(field.invalid(path, list(operations), text))
    return causes


def _words(words: tuple[str, ...], path: str, what: str, *, empty: bool = False) -> Causes:
    if not words:
        return [field.required(path)]
    causes = [
        field.required(f"{path}[{index}]")
        for index, word in enumerate(words)
        if not word and not empty
    ]
    if "*" in words and len(words) > 1:
        text = f"if '*' is present, must not specify other {what}"
        causes.append(field.invalid(path, list(words), text))
    return causes


def _resources(resources: tuple[str, ...], path: str) -> Causes:
    """`*/*` is everything, `*` all but subresources, `pods/*` those of pods, `*/scale` scales."""
    if not resources:
        return [field.required(path)]
    causes: Causes = []
    for index, resource in enumerate(resources):
        if not resource:
            causes.append(field.required(f"{path}[{index}]"))
    if "*/*" in resources and len(resources) > 1:
        text = "if '*/*' is present, must not specify other resources"
        causes.append(field.invalid(path, list(resources), text))
    elif "*" in resources and any("/" not in r for r in resources if r != "*"):
        text = "if '*' is present, must not specify other resources without subresources"
        causes.append(field.invalid(path, list(resources), text))
    return causes


def validate_conditions(conditions: Iterable[MatchCondition], path: str) -> Causes:
    listed = list(conditions)
    if len(listed) > MAX_CONDITIONS:
        return [field.too_many(path, len(listed), MAX_CONDITIONS)]
    causes: Causes = []
    names: set[str] = set()
    for index, condition in enumerate(listed):
        here = f"{path}[{index}]"
        if not condition.expression.strip():
            causes.append(field.required(f"{here}.expression"))
        if not condition.name:
            causes.append(field.required(f"{here}.name"))
        elif why := qualified_name(condition.name):
            causes.append(field.invalid(f"{here}.name", condition.name, why))
        if condition.name in names:
            causes.append(field.duplicate(f"{here}.name", condition.name))
        names.add(condition.name)
    return causes


def _client(client: WebhookClientConfig, path: str) -> Causes:
    if bool(client.url) == (client.service is not None):
        return [field.required(path, "exactly one of url or service is required")]
    if client.service is None:
        return validate_url(client.url, f"{path}.url")
    return _service(client.service, f"{path}.service")


def validate_url(url: str, path: str) -> Causes:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [field.required(path, f"url must be a valid URL: {error}{_URL_FORM}")]
    causes: Causes = []
    if parts.scheme != "https":
        text = f"'https' is the only allowed URL scheme{_URL_FORM}"
        causes.append(field.invalid(path, parts.scheme, text))
    if not parts.hostname:
        text = f"host must be specified{_URL_FORM}"
        causes.append(field.invalid(path, parts.netloc, text))
    if parts.username is not None:
        text = f"user information is not permitted in the URL{_URL_FORM}"
        causes.append(field.invalid(path, parts.username, text))
    if parts.fragment:
        text = f"fragments are not permitted in the URL{_URL_FORM}"
        causes.append(field.invalid(path, parts.fragment, text))
    if parts.query:
        text = f"query parameters are not permitted in the URL{_URL_FORM}"
        causes.append(field.invalid(path, parts.query, text))
    return causes


def _service(service: ServiceReference, path: str) -> Causes:
    causes: Causes = []
    if not service.name:
        causes.append(field.required(f"{path}.name", "service name is required"))
    if not service.namespace:
        causes.append(field.required(f"{path}.namespace", "service namespace is required"))
    if service.port is not None and formats.port("", service.port):
        text = f"port is not valid: {formats.PORT}"
        causes.append(field.invalid(f"{path}.port", service.port, text))
    if service.path and not service.path.startswith("/"):
        text = "must start with a '/'"
        causes.append(field.invalid(f"{path}.path", service.path, text))
    return causes
