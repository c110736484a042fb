"""Discovery documents, from the scheme: /api, /apis, their lists, and the aggregated form. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from kube.machinery.scheme import RESOURCES, Resource
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.kinds.parts.subresource import Subresource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
Json = dict[str, Any]

# Served beside the stored kinds: reviews that are answered and not kept.
_REVIEWS: tuple[tuple[str, str, str], ...] = (
    ("authorization.k8s.io", "LocalSubjectAccessReview", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews"),
    ("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"),
)


def _groups() -> dict[tuple[str, str], list[Resource]]:
    found: dict[tuple[str, str], list[Resource]] = defaultdict(list)
    for resource in RESOURCES:
        found[resource.group, resource.version].append(resource)
    for group, _, _ in _REVIEWS:
        found.setdefault((group, "v1"), [])
    return dict(found)


GROUPS = _groups()


def _entry(resource: Resource) -> Json:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _ALL_VERBS,
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _sub_entries(resource: Resource) -> list[Json]:
    entries = []
    for part in kind_of(resource).subresources:
        entry: Json = {
            "name": f"{resource.plural}/{part.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": part.kind or resource.kind,
            "verbs": list(part.verbs),
        }
        if part.group is not None:
            entry |= {"group": part.group, "version": part.version}
        entries.append(entry)
    return entries


def _review_entries(group: str) -> list[Json]:
    return [
        {
            "name": plural,
            "singularName": kind.lower(),
            "namespaced": kind.startswith("Local"),
            "kind": kind,
            "verbs": ["create"],
        }
        for of, kind, plural in _REVIEWS
        if of == group
    ]


def api_versions(address: str) -> Json:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _group(group: str, version: str) -> Json:
    both = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [both], "preferredVersion": both}


def api_group_list() -> Json:
    groups = [_group(group, version) for group, version in GROUPS if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(group: str) -> Json | None:
    for name, version in GROUPS:
        if group and name == group:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, version)}
    return None


def resource_list(group: str, version: str) -> Json | None:
    if (group, version) not in GROUPS:
        return None
    resources: list[Json] = []
    for resource in GROUPS[group, version]:
        resources += [_entry(resource), *_sub_entries(resource)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": resources + _review_entries(group),
    }


def aggregated(core: bool, version: str) -> Json:
    """The APIGroupDiscoveryList of /api (`core`) or /apis."""
    items = []
    for (group, of), resources in GROUPS.items():
        if bool(group) == core:
            continue
        entries = [_aggregated_entry(resource) for resource in resources]
        entries += [_aggregated_review(group, entry) for entry in _review_entries(group)]
        items.append(
            {
                "metadata": {"name": group} if group else {},
                "versions": [{"version": of, "freshness": "Current", "resources": entries}],
            }
        )
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_entry(resource: Resource) -> Json:
    entry: Json = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": _ALL_VERBS,
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if parts := kind_of(resource).subresources:
        entry["subresources"] = [_aggregated_sub(resource, part) for part in parts]
    return entry


def _aggregated_sub(resource: Resource, part: Subresource) -> Json:
    own = (resource.group, resource.version)
    of = own if part.group is None else (part.group, part.version)
    return {
        "subresource": part.name,
        "responseKind": _kind(*of, part.kind or resource.kind),
        "verbs": list(part.verbs),
    }


def _aggregated_review(group: str, entry: Json) -> Json:
    return {
        "resource": entry["name"],
        "responseKind": _kind(group, "v1", entry["kind"]),
        "scope": "Cluster",
        "singularResource": entry["singularName"],
        "verbs": entry["verbs"],
    }


def _kind(group: str, version: str, kind: str) -> Json:
    return {"group": group, "version": version, "kind": kind}


def wants_aggregated(accept: str) -> str | None:
    """The version of the aggregated form that the client asks for first; None: the old form."""
    for clause in accept.split(","):
        parts = [part.strip() for part in clause.split(";")]
        given = dict(p.split("=", 1) for p in parts[1:] if "=" in p)
        if given.get("as") == "APIGroupDiscoveryList" and given.get("v") in ("v2", "v2beta1"):
            return given["v"]
        if parts[0] in ("application/json", "*/*") and "as" not in given:
            return None
    return None
