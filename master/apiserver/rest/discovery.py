"""Discovery documents of a registry: /api, /apis, their lists, the aggregated form. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from kube.machinery.scheme import Resource
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.kinds.parts.subresource import Subresource
from master.apiserver.kinds.registry import Registry

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


def groups_of(registry: Registry) -> dict[str, dict[str, list[AnyKind]]]:
    """Group, version, kinds; the group's preferred version comes first."""
    found = dict(registry.groups)
    for group, _, _ in _REVIEWS:
        found.setdefault(group, {"v1": []})
    return found


def _entry(kind: AnyKind) -> Json:
    resource = kind.resource
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
    entry["storageVersionHash"] = _storage_hash(kind.stored.resource)
    return entry


def _storage_hash(stored: Resource) -> str:
    """Equal for all versions of one stored kind (endpoints/discovery StorageVersionHash)."""
    text = f"{stored.group}/{stored.version}/{stored.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _sub_entries(kind: AnyKind) -> list[Json]:
    resource, entries = kind.resource, []
    for part in kind.subresources:
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


def _group(group: str, versions: Iterable[str]) -> Json:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def api_group_list(registry: Registry) -> Json:
    groups = [_group(group, versions) for group, versions in groups_of(registry).items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(registry: Registry, group: str) -> Json | None:
    versions = groups_of(registry).get(group) if group else None
    if versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}


def resource_list(registry: Registry, group: str, version: str) -> Json | None:
    kinds = groups_of(registry).get(group, {}).get(version)
    if kinds is None:
        return None
    resources: list[Json] = []
    for kind in kinds:
        resources += [_entry(kind), *_sub_entries(kind)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": resources + (_review_entries(group) if version == "v1" else []),
    }


def aggregated(registry: Registry, core: bool, version: str) -> Json:
    """The APIGroupDiscoveryList of /api (`core`) or /apis."""
    items = []
    for group, versions in groups_of(registry).items():
        if bool(group) == core:
            continue
        listed = [_aggregated_version(group, of, kinds) for of, kinds in versions.items()]
        items.append({"metadata": {"name": group} if group else {}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_version(group: str, version: str, kinds: list[AnyKind]) -> Json:
    entries = [_aggregated_entry(kind) for kind in kinds]
    if version == "v1":
        entries += [_aggregated_review(group, entry) for entry in _review_entries(group)]
    return {"version": version, "freshness": "Current", "resources": entries}


def _aggregated_entry(kind: AnyKind) -> Json:
    resource = kind.resource
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
    if parts := kind.subresources:
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
