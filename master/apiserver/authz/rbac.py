"""What roles and their bindings grant, read from the watch cache (upstream's mode RBAC).

Bindings are sorted by whom they name. That is done again when one of the four kinds has changed and
the next request asks; of what has not changed nothing is decoded twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kube.api.rbac import (
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)
from kube.machinery import scheme
from kube.machinery.scheme import ApiObject
from master.apiserver.authn.identity import User
from master.apiserver.authz.rules import Attributes, allows
from master.apiserver.cache.cacher import Cacher
from master.apiserver.cache.entry import Entry, Selection
from master.apiserver.kinds.catalog import kind_of

_TYPES: tuple[type[ApiObject], ...] = (ClusterRole, ClusterRoleBinding, Role, RoleBinding)
SERVICE_ACCOUNT = "system:serviceaccount:"
# Users of whom it is remembered what they were granted.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Grant:
    """Rules that somebody has: everywhere, or (`namespace`) there only."""

    rules: tuple[PolicyRule, ...]
    namespace: str
    # As upstream words why a request is allowed.
    reason: str

    def allows(self, asked: Attributes) -> bool:
        if self.namespace and (asked.path or asked.namespace != self.namespace):
            return False
        return any(allows(rule, asked) for rule in self.rules)


Subjects = dict[tuple[str, str], list[Grant]]


class Rbac:
    def __init__(self, cacher: Cacher) -> None:
        self._cacher = cacher
        self._seen: tuple[int, ...] = ()
        self._decoded: dict[tuple[type[ApiObject], str], tuple[int, Any]] = {}
        self._by_subject: Subjects = {}
        self._by_user: dict[tuple[str, frozenset[str]], tuple[Grant, ...]] = {}

    def allowed(self, user: User, asked: Attributes) -> Grant | None:
        """What allows it, if anything does."""
        return next((grant for grant in self.grants_of(user) if grant.allows(asked)), None)

    def rules_of(self, user: User, namespace: str) -> Iterator[PolicyRule]:
        """What the user may do in a namespace."""
        for grant in self.grants_of(user):
            if grant.namespace in ("", namespace):
                yield from grant.rules

    def grants_of(self, user: User) -> tuple[Grant, ...]:
        self._refresh()
        key = (user.name, user.groups)
        known = self._by_user.get(key)
        if known is None:
            found = list(self._by_subject.get(("User", user.name), ()))
            for group in sorted(user.groups):
                found += self._by_subject.get(("Group", group), ())
            if len(self._by_user) >= _REMEMBERED:
                self._by_user.clear()
            known = self._by_user[key] = tuple(found)
        return known

    # the index

    def _refresh(self) -> None:
        caches = [self._cacher[kind_of(type_)] for type_ in _TYPES]
        seen = tuple(cache.changes for cache in caches)
        if seen == self._seen:
            return
        self._by_user.clear()
        objects: dict[type[ApiObject], dict[str, Any]] = {}
        decoded: dict[tuple[type[ApiObject], str], tuple[int, Any]] = {}
        for type_, cache in zip(_TYPES, caches, strict=True):
            here = objects[type_] = {}
            for entry in cache.select(Selection()):
                obj = self._object(type_, entry)
                here[entry.key] = obj
                decoded[type_, entry.key] = (entry.revision, obj)
        self._decoded = decoded
        self._by_subject = by_subject(objects)
        self._seen = seen

    def _object(self, type_: type[ApiObject], entry: Entry) -> Any:
        known = self._decoded.get((type_, entry.key))
        if known is not None and known[0] == entry.revision:
            return known[1]
        return scheme.decode(type_, entry.stored)


def by_subject(objects: dict[type[ApiObject], dict[str, Any]]) -> Subjects:
    """What each user and group is granted, by all roles and bindings under their keys."""
    found: Subjects = {}
    for binding in objects[ClusterRoleBinding].values():
        _add(found, binding, "", objects)
    for binding in objects[RoleBinding].values():
        _add(found, binding, binding.metadata.namespace, objects)
    return found


def _add(
    found: Subjects,
    binding: RoleBinding | ClusterRoleBinding,
    namespace: str,
    objects: dict[type[ApiObject], dict[str, Any]],
) -> None:
    ref = binding.role_ref or RoleRef()
    role = objects[ClusterRole].get(ref.name)
    if ref.kind == "Role":
        role = objects[Role].get(f"{namespace}/{ref.name}")
    if role is None:
        return
    for subject in binding.subjects:
        reason = _reason(binding, ref, subject, namespace)
        key = _key(subject, namespace)
        found.setdefault(key, []).append(Grant(role.rules, namespace, reason))


def _key(subject: Subject, namespace: str) -> tuple[str, str]:
    """A service account is a user; of a RoleBinding without a namespace, of that one's."""
    if subject.kind != "ServiceAccount":
        return subject.kind, subject.name
    return "User", f"{SERVICE_ACCOUNT}{subject.namespace or namespace}:{subject.name}"


def _reason(
    binding: RoleBinding | ClusterRoleBinding, ref: RoleRef, subject: Subject, namespace: str
) -> str:
    name = binding.metadata.name
    where = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
    who = f'{subject.kind} "{subject.name}"'
    if subject.kind == "ServiceAccount":
        who = f'{subject.kind} "{subject.name}/{subject.namespace or namespace}"'
    return f'RBAC: allowed by {where} of {ref.kind} "{ref.name}" to {who}'


def covers(rules: Iterable[PolicyRule], wanted: Iterable[PolicyRule]) -> list[PolicyRule]:
    """The parts of `wanted` that no rule grants (component-helpers' validation.Covers)."""
    held = list(rules)
    return [
        part
        for rule in wanted
        for part in _parts(rule)
        if not any(_holds(one, part) for one in held)
    ]


def _parts(rule: PolicyRule) -> Iterator[PolicyRule]:
    """One verb, one resource, one name each."""
    for verb in rule.verbs:
        for url in rule.non_resource_urls:
            yield PolicyRule(verbs=(verb,), non_resource_urls=(url,))
        for group in rule.api_groups:
            for resource in rule.resources:
                part = PolicyRule(verbs=(verb,), api_groups=(group,), resources=(resource,))
                if not rule.resource_names:
                    yield part
                for name in rule.resource_names:
                    yield PolicyRule(
                        verbs=(verb,),
                        api_groups=(group,),
                        resources=(resource,),
                        resource_names=(name,),
                    )


def _holds(rule: PolicyRule, part: PolicyRule) -> bool:
    if not _has(rule.verbs, part.verbs[0]):
        return False
    if part.non_resource_urls:
        return any(
            url == "*" or url == part.non_resource_urls[0]
            or (url.endswith("*") and part.non_resource_urls[0].startswith(url[:-1]))
            for url in rule.non_resource_urls
        )  # fmt: skip
    resource = part.resources[0]
    sub = f"*/{resource.partition('/')[2]}" if "/" in resource else ""
    if not _has(rule.api_groups, part.api_groups[0]):
        return False
    if not (_has(rule.resources, resource) or (sub and sub in rule.resources)):
        return False
    return not rule.resource_names or part.resource_names[:1] in [(n,) for n in rule.resource_names]


def _has(allowed: tuple[str, ...], wanted: str) -> bool:
    return "*" in allowed or wanted in allowed
