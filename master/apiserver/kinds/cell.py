"""Pieces of cells: ages, selectors, lists."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from kube.api.core import Container, PersistentVolume, PersistentVolumeClaim
from kube.api.meta import LabelSelector
from kube.machinery.selectors import format_labels
from kube.machinery.times import parse_time

UNKNOWN, NONE, UNSET = "<unknown>", "<none>", "<unset>"


def age(text: str, now: datetime) -> str:
    when = parse_time(text)
    return UNKNOWN if when is None else human_duration((now - when).total_seconds())


def human_duration(seconds: float) -> str:
    """Two units at most, as apimachinery's duration.HumanDuration prints."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = days // 365, days % 365
    return f"{years}y{rest}d" if days < 2920 and rest else f"{years}y"


def limited(values: Iterable[str], limit: int = 3) -> str:
    """`a,b,c + 2 more...`"""
    listed = list(values)
    if not listed:
        return NONE
    shown = ",".join(listed[:limit])
    return shown if len(listed) <= limit else f"{shown} + {len(listed) - limit} more..."


def flag(value: bool | None) -> str:
    """`True`, `False`, or that nobody said."""
    return UNSET if value is None else str(value)


def labels(given: dict[str, str]) -> str:
    return format_labels(given) or NONE


def selector(given: LabelSelector | None) -> str:
    if given is None:
        return NONE
    parts = [format_labels(given.match_labels)] if given.match_labels else []
    for expression in given.match_expressions:
        values = ",".join(sorted(expression.values))
        match expression.operator:
            case "Exists":
                parts.append(expression.key)
            case "DoesNotExist":
                parts.append(f"!{expression.key}")
            case operator:
                parts.append(f"{expression.key} {operator.lower()} ({values})")
    return ",".join(parts) or NONE


_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def access_modes(given: tuple[str, ...]) -> str:
    """`RWO,ROX`: each once, in upstream's order."""
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def storage_class(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """The class of a volume or claim; the annotation is older than the field."""
    old = obj.metadata.annotations.get("volume.beta.kubernetes.io/storage-class")
    return obj.spec.storage_class_name if old is None else old


def containers(given: tuple[Container, ...]) -> tuple[str, str]:
    """Names and images, as the wide columns of workloads show them."""
    return ",".join(c.name for c in given), ",".join(c.image for c in given)
