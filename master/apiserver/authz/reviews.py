"""The reviews, which are answered and never kept: who am I, may I, may he.

SelfSubjectAccessReview and SelfSubjectRulesReview (`kubectl auth can-i`), SelfSubjectReview
(`kubectl auth whoami`), and what the components' own ports ask of a caller: SubjectAccessReview
and LocalSubjectAccessReview. Both front ends answer them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kube.api.meta import StatusCause
from kube.api.rbac import PolicyRule
from kube.machinery.errors import BadRequest, NotFound, invalid
from master.apiserver.authn.identity import User
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.authz.rules import Attributes
from master.apiserver.decoding.typed import to_typed

AUTHORIZATION, AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
GROUPS = (AUTHORIZATION, AUTHENTICATION)
Json = dict[str, Any]
_ACCESS_KINDS = {
    "selfsubjectaccessreviews": "SelfSubjectAccessReview",
    "subjectaccessreviews": "SubjectAccessReview",
    "localsubjectaccessreviews": "LocalSubjectAccessReview",
}
PLURALS = (*_ACCESS_KINDS, "selfsubjectrulesreviews", "selfsubjectreviews")


class _Requirement(msgspec.Struct):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class _Selector(msgspec.Struct):
    requirements: tuple[_Requirement, ...] = ()


class _Resource(msgspec.Struct, rename="camel", frozen=True):
    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: _Selector | None = None


class _NonResource(msgspec.Struct, frozen=True):
    verb: str = ""
    path: str = ""


class _Spec(msgspec.Struct, rename="camel", frozen=True):
    resource_attributes: _Resource | None = None
    non_resource_attributes: _NonResource | None = None
    user: str = ""
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = {}


class _Namespace(msgspec.Struct, frozen=True):
    namespace: str = ""


class _RulesReview(msgspec.Struct):
    spec: _Namespace = _Namespace()


class _Review(msgspec.Struct):
    spec: _Spec = _Spec()


def check_served(group: str, plural: str, namespace: str) -> None:
    """Whether there is such a review, before its body is read. Raises NotFound."""
    if plural not in PLURALS or bool(namespace) != (plural == "localsubjectaccessreviews"):
        raise NotFound("the server could not find the requested resource")
    if (group == AUTHENTICATION) != (plural == "selfsubjectreviews"):
        raise NotFound("the server could not find the requested resource")


def answer(authorizer: Authorizer, user: User, plural: str, namespace: str, value: Any) -> Json:
    """The review with its status filled in. Raises BadRequest, Invalid."""
    if not isinstance(value, dict):
        raise BadRequest("a review must be an object")
    match plural:
        case "selfsubjectreviews":
            return {**value, "status": {"userInfo": _user_info(user)}}
        case "selfsubjectrulesreviews":
            return {**value, "status": _rules(authorizer, user, value)}
    return {**value, "status": _access(authorizer, user, plural, namespace, value)}


def _user_info(user: User) -> Json:
    info: Json = {"username": user.name, "groups": sorted(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    return info | ({"extra": dict(user.extra)} if user.extra else {})


def _access(authorizer: Authorizer, user: User, plural: str, namespace: str, value: Json) -> Json:
    kind = _ACCESS_KINDS[plural]
    spec = to_typed(_Review, value, kind).spec
    _check_spec(spec, kind, namespace)
    if plural != "selfsubjectaccessreviews":
        extra = tuple((key, tuple(values)) for key, values in spec.extra.items())
        user = User(spec.user, frozenset(spec.groups), spec.uid, extra)
    decision = authorizer.decide(user, _asked(spec))
    status: Json = {"allowed": decision.allowed}
    return status | ({"reason": decision.reason} if decision.reason else {})


def _check_spec(spec: _Spec, kind: str, namespace: str) -> None:
    causes = []
    if bool(spec.resource_attributes) == bool(spec.non_resource_attributes):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(_invalid("spec.resourceAttributes", text))
    if kind != "SelfSubjectAccessReview" and not spec.user and not spec.groups:
        causes.append(_invalid("spec.user", "at least one of user or group must be specified"))
    if kind == "LocalSubjectAccessReview":
        if spec.non_resource_attributes:
            text = "disallowed on this kind of request"
            causes.append(_invalid("spec.nonResourceAttributes", text))
        elif spec.resource_attributes and spec.resource_attributes.namespace != namespace:
            text = "must match metadata.namespace"
            causes.append(_invalid("spec.resourceAttributes.namespace", text))
    if causes:
        raise invalid(kind, AUTHORIZATION, "", causes)


def _invalid(path: str, text: str) -> StatusCause:
    return StatusCause(field=path, message=f"Invalid value: {text}", reason="FieldValueInvalid")


def _asked(spec: _Spec) -> Attributes:
    if plain := spec.non_resource_attributes:
        return Attributes(plain.verb, path=plain.path)
    asked = spec.resource_attributes
    assert asked is not None  # _check_spec
    selected = asked.field_selector.requirements if asked.field_selector else ()
    pinned = tuple(
        (one.key, one.values[0])
        for one in selected
        if one.operator == "In" and len(one.values) == 1
    )
    return Attributes(
        asked.verb,
        asked.group,
        asked.resource,
        asked.subresource,
        asked.namespace,
        asked.name,
        pinned=pinned,
    )


def _rules(authorizer: Authorizer, user: User, value: Json) -> Json:
    namespace = to_typed(_RulesReview, value, "SelfSubjectRulesReview").spec.namespace
    rules = list(authorizer.rules_of(user, namespace))
    return {
        "resourceRules": [_resource_rule(rule) for rule in rules if rule.resources],
        "nonResourceRules": [
            {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.non_resource_urls)}
            for rule in rules
            if rule.non_resource_urls
        ],
        # The node rules are code, not a list.
        "incomplete": user.is_node,
    }


def _resource_rule(rule: PolicyRule) -> Json:
    found: Json = {
        "verbs": list(rule.verbs),
        "apiGroups": list(rule.api_groups),
        "resources": list(rule.resources),
    }
    return found | ({"resourceNames": list(rule.resource_names)} if rule.resource_names else {})
