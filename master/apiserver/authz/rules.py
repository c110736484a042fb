"""What is asked of the authorizer, and what one rule of a role says to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kube.api.rbac import PolicyRule

READ = ("get", "list", "watch")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked: a verb on a resource, or on a path that is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""  # non-resource requests only
    # For list and watch: the (field, value) pairs that the field selector asks to be equal.
    pinned: tuple[tuple[str, str], ...] = ()


def allows(rule: PolicyRule, asked: Attributes) -> bool:
    """Whether the rule is about what is asked (rbac.RuleAllows)."""
    if not _has(rule.verbs, asked.verb):
        return False
    if asked.path:
        return any(_path_matches(path, asked.path) for path in rule.non_resource_urls)
    full = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    return (
        _has(rule.api_groups, asked.group)
        and (
            _has(rule.resources, full)
            or bool(asked.subresource and f"*/{asked.subresource}" in rule.resources)
        )
        and (not rule.resource_names or asked.name in rule.resource_names)
    )


def _has(allowed: tuple[str, ...], wanted: str) -> bool:
    return "*" in allowed or wanted in allowed


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern
