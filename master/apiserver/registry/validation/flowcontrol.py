"""Validation of FlowSchemas and PriorityLevelConfigurations (pkg/apis/flowcontrol). Pure."""

from __future__ import annotations

from kube.api.flowcontrol import (
    FlowSchema,
    LimitedPriorityLevelConfiguration,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    PriorityLevelConfiguration,
    QueuingConfiguration,
    ResourcePolicyRule,
    Subject,
)
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import dns_subdomain

Causes = list[StatusCause]
EXEMPT, LIMITED = "Exempt", "Limited"
MAX_PRECEDENCE, MAX_QUEUES = 10_000, 10_000_000
_METHODS = ("ByNamespace", "ByUser")
_SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
_POSITIVE = "must be positive"


def validate_flow_schema(obj: FlowSchema) -> Causes:
    spec = obj.spec
    causes = _precedence(obj.metadata.name, spec.matching_precedence or 0)
    method = spec.distinguisher_method
    if method is not None and method.type not in _METHODS:
        path = "spec.distinguisherMethod"
        causes.append(field.not_supported(path, method.type, _METHODS))
    level = spec.priority_level_configuration
    path = "spec.priorityLevelConfiguration.name"
    if level is None or not level.name:
        causes.append(field.required(path, "must reference a priority level"))
    elif why := dns_subdomain(level.name):
        causes.append(field.invalid(path, level.name, why))
    for index, rules in enumerate(spec.rules):
        causes += _rules(rules, f"spec.rules[{index}]")
    return causes


def _precedence(name: str, value: int) -> Causes:
    path = "spec.matchingPrecedence"
    if value <= 0:
        return [field.invalid(path, value, "must be a positive value")]
    if value > MAX_PRECEDENCE:
        text = f"must not be greater than {MAX_PRECEDENCE}"
        return [field.invalid(path, value, text)]
    if value == 1 and name != "exempt":
        text = "only the schema named 'exempt' may have matchingPrecedence 1"
        return [field.invalid(path, value, text)]
    return []


def _rules(rules: PolicyRulesWithSubjects, path: str) -> Causes:
    causes: Causes = []
    if not rules.subjects:
        text = "subjects must contain at least one value"
        causes.append(field.required(f"{path}.subjects", text))
    for index, subject in enumerate(rules.subjects):
        causes += _subject(subject, f"{path}.subjects[{index}]")
    if not rules.resource_rules and not rules.non_resource_rules:
        text = "at least one of resourceRules and nonResourceRules has to be non-empty"
        causes.append(field.required(path, text))
    for index, rule in enumerate(rules.resource_rules):
        causes += _resource_rule(rule, f"{path}.resourceRules[{index}]")
    for index, other in enumerate(rules.non_resource_rules):
        causes += _path_rule(other, f"{path}.nonResourceRules[{index}]")
    return causes


def _subject(subject: Subject, path: str) -> Causes:
    if subject.kind not in _SUBJECTS:
        return [field.not_supported(f"{path}.kind", subject.kind, tuple(_SUBJECTS))]
    given = {
        "group": subject.group,
        "serviceAccount": subject.service_account,
        "user": subject.user,
    }
    causes: Causes = []
    for kind, name in _SUBJECTS.items():
        found, here = given[name], f"{path}.{name}"
        if kind == subject.kind and found is None:
            text = f"{name} is required when subject kind is '{kind}'"
            causes.append(field.required(here, text))
        elif kind == subject.kind and found is not None and not found.name:
            causes.append(field.required(f"{here}.name"))
        elif kind != subject.kind and found is not None:
            text = f"{name} is forbidden when subject kind is not '{kind}'"
            causes.append(field.forbidden(here, text))
    account = subject.service_account
    if subject.kind == "ServiceAccount" and account is not None and not account.namespace:
        text = "must specify namespace for service account"
        causes.append(field.required(f"{path}.serviceAccount.namespace", text))
    return causes


def _required(path: str, given: dict[str, tuple[tuple[str, ...], str]]) -> Causes:
    return [
        field.required(f"{path}.{name}", text)
        for name, (values, text) in given.items()
        if not values
    ]


def _resource_rule(rule: ResourcePolicyRule, path: str) -> Causes:
    causes = _required(
        path,
        {
            "verbs": (rule.verbs, "verbs must contain at least one value"),
            "apiGroups": (rule.api_groups, "resource rules must supply at least one api group"),
            "resources": (rule.resources, "resource rules must supply at least one resource"),
        },
    )
    if not rule.namespaces and not rule.cluster_scope:
        text = "resource rules that are not cluster scoped must supply at least one namespace"
        causes.append(field.required(f"{path}.namespaces", text))
    return causes


def _path_rule(rule: NonResourcePolicyRule, path: str) -> Causes:
    return _required(
        path,
        {
            "verbs": (rule.verbs, "verbs must contain at least one value"),
            "nonResourceURLs": (
                rule.non_resource_urls,
                "nonResourceURLs must contain at least one value",
            ),
        },
    )


def validate_priority_level(obj: PriorityLevelConfiguration) -> Causes:
    spec, path = obj.spec, "spec.limited"
    match spec.type:
        case "Exempt":
            if spec.limited is not None:
                text = "must be nil if the type is not Limited"
                return [field.forbidden(path, text)]
            return []
        case "Limited":
            if spec.exempt is not None:
                text = "must be nil if the type is Limited"
                return [field.forbidden("spec.exempt", text)]
            if spec.limited is None:
                return [field.required(path, "must not be empty when type is Limited")]
            return _limited(spec.limited, path)
    return [field.not_supported("spec.type", spec.type, (EXEMPT, LIMITED))]


def _limited(limited: LimitedPriorityLevelConfiguration, path: str) -> Causes:
    causes: Causes = []
    shares = limited.nominal_concurrency_shares
    if shares is not None and shares < 0:
        text = "must be a non-negative integer"
        causes.append(field.invalid(f"{path}.nominalConcurrencyShares", shares, text))
    percent = limited.lendable_percent
    if percent is not None and not 0 <= percent <= 100:
        text = "must be between 0 and 100, inclusive"
        causes.append(field.invalid(f"{path}.lendablePercent", percent, text))
    response, here = limited.limit_response, f"{path}.limitResponse"
    kind = response.type if response else ""
    queuing = response.queuing if response else None
    if kind not in ("Queue", "Reject"):
        causes.append(field.not_supported(f"{here}.type", kind, ("Queue", "Reject")))
    elif kind == "Reject" and queuing is not None:
        text = "must be nil if limited.limitResponse.type is not Limited"
        causes.append(field.forbidden(f"{here}.queuing", text))
    elif kind == "Queue" and queuing is None:
        text = "must not be empty if limited.limitResponse.type is Limited"
        causes.append(field.required(f"{here}.queuing", text))
    elif queuing is not None:
        causes += _queuing(queuing, f"{here}.queuing")
    return causes


def _queuing(queuing: QueuingConfiguration, path: str) -> Causes:
    causes: Causes = []
    queues, hand = queuing.queues or 0, queuing.hand_size or 0
    if (queuing.queue_length_limit or 0) <= 0:
        wrong = queuing.queue_length_limit or 0
        causes.append(field.invalid(f"{path}.queueLengthLimit", wrong, _POSITIVE))
    if queues <= 0:
        causes.append(field.invalid(f"{path}.queues", queues, _POSITIVE))
    elif queues > MAX_QUEUES:
        text = f"must not be greater than {MAX_QUEUES}"
        causes.append(field.invalid(f"{path}.queues", queues, text))
    if hand <= 0:
        causes.append(field.invalid(f"{path}.handSize", hand, _POSITIVE))
    elif hand > queues:
        text = f"should not be greater than queues ({queues})"
        causes.append(field.invalid(f"{path}.handSize", hand, text))
    return causes
