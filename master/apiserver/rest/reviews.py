"""SelfSubjectAccessReview (`kubectl auth can-i`) and SelfSubjectReview (`kubectl auth whoami`)."""

from __future__ import annotations

from typing import Any

import msgspec

from master.apiserver.auth.authorizer import Authorizer, rules_of
from master.apiserver.auth.identity import User
from master.apiserver.auth.rules import Attributes, PolicyRule
from master.apiserver.registry.decode import to_typed
from muster.api.errors import BadRequest, NotFound

GROUPS = ("authorization.k8s.io", "authentication.k8s.io")
Json = dict[str, Any]


class _Resource(msgspec.Struct):
    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class _NonResource(msgspec.Struct):
    verb: str = ""
    path: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    resource_attributes: _Resource | None = None
    non_resource_attributes: _NonResource | None = None


class _Review(msgspec.Struct):
    spec: _Spec


def answer(authorizer: Authorizer, user: User, plural: str, value: Any) -> Json:
    """The review with its status filled in. Raises NotFound, BadRequest."""
    if not isinstance(value, dict):
        raise BadRequest("a review must be an object")
    match plural:
        case "selfsubjectaccessreviews":
            return {**value, "status": {"allowed": _allowed(authorizer, user, value)}}
        case "selfsubjectreviews":
            info = {"username": user.name, "groups": sorted(user.groups)}
            return {**value, "status": {"userInfo": info}}
        case "selfsubjectrulesreviews":
            return {**value, "status": _rules(user)}
    raise NotFound("the server could not find the requested resource")


def _allowed(authorizer: Authorizer, user: User, value: Json) -> bool:
    spec = to_typed(_Review, value, "SelfSubjectAccessReview").spec
    if spec.resource_attributes:
        asked = spec.resource_attributes
        return authorizer.allows(
            user,
            Attributes(
                asked.verb,
                asked.group,
                asked.resource,
                asked.subresource,
                asked.namespace,
                asked.name,
            ),
        )
    if spec.non_resource_attributes:
        plain = spec.non_resource_attributes
        return authorizer.allows(user, Attributes(plain.verb, path=plain.path))
    raise BadRequest("exactly one of nonResourceAttributes or resourceAttributes must be specified")


def _rules(user: User) -> Json:
    rules = list(rules_of(user))
    return {
        "resourceRules": [_resource_rule(rule) for rule in rules if rule.resources],
        "nonResourceRules": [
            {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.paths)}
            for rule in rules
            if rule.paths
        ],
        # The node rules are code, not a list.
        "incomplete": bool(user.node_name),
    }


def _resource_rule(rule: PolicyRule) -> Json:
    found: Json = {
        "verbs": list(rule.verbs),
        "apiGroups": list(rule.groups),
        "resources": list(rule.resources),
    }
    return found | ({"resourceNames": list(rule.names)} if rule.names else {})
