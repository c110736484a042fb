"""Families that many kinds have: what every object's metadata says. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kube.machinery.scheme import ApiObject
from kube.machinery.times import parse_time
from master.statemetrics.family import Family, Labels, Sample, label_name, plain


def identity(label: str, *, namespaced: bool = True, uid: bool = False) -> Callable[[Any], Labels]:
    """How the series of a kind name the object that they are about."""

    def labels(obj: ApiObject) -> Labels:
        meta = obj.metadata
        return {
            **({"namespace": meta.namespace} if namespaced else {}),
            label: meta.name,
            **({"uid": meta.uid} if uid else {}),
        }

    return labels


def timestamp(text: str) -> float | None:
    """Seconds since the epoch; None for a time that is not set."""
    when = parse_time(text)
    return None if when is None else when.timestamp()


def created(prefix: str) -> Family[Any]:
    return plain(
        f"{prefix}_created",
        "Unix time of the object's creation.",
        lambda obj: timestamp(obj.metadata.creation_timestamp),
    )


def deleted(prefix: str, name: str = "deletion_timestamp") -> Family[Any]:
    return plain(
        f"{prefix}_{name}",
        "Unix time at which the object's deletion was asked for.",
        lambda obj: timestamp(obj.metadata.deletion_timestamp),
    )


def generation(prefix: str) -> Family[Any]:
    return plain(
        f"{prefix}_metadata_generation",
        "Counts the changes of the object's spec.",
        lambda obj: obj.metadata.generation or 0,
    )


def resource_version(prefix: str) -> Family[Any]:
    """Resource versions are opaque to clients; upstream publishes those that are numbers."""

    def number(obj: ApiObject) -> float | None:
        text = obj.metadata.resource_version
        return float(text) if text.isdecimal() else None

    return plain(f"{prefix}_metadata_resource_version", "The object's version.", number)


def owner(prefix: str, *, says_controller: bool = True) -> Family[Any]:
    def samples(obj: ApiObject) -> Iterable[Sample]:
        for reference in obj.metadata.owner_references or (None,):
            controller = "" if reference is None else str(bool(reference.controller)).lower()
            labels = {
                "owner_kind": reference.kind if reference else "",
                "owner_name": reference.name if reference else "",
            }
            yield labels | ({"owner_is_controller": controller} if says_controller else {}), 1

    return Family(f"{prefix}_owner", "The objects that own this one.", samples)


def allowed(
    name: str, label_prefix: str, keys: tuple[str, ...], of: Callable[[Any], Mapping[str, str]]
) -> Family[Any]:
    """An object's labels (or annotations) of the allowed keys, `*` for all. Without allowed keys
    there is no such family: users choose labels freely, so series would have no bound."""

    def samples(obj: ApiObject) -> Iterable[Sample]:
        found = {
            label_name(label_prefix, key): value
            for key, value in of(obj).items()
            if keys[:1] == ("*",) or key in keys
        }
        return ((found, 1),) if found else ()

    return Family(name, f"The object's {label_prefix}s that --metric-* allows.", samples)
