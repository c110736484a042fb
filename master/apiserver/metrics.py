"""The api-server's metrics, by upstream's names (apiserver endpoints/metrics)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE", "DELETECOLLECTION", "APPLY"})

_requests = Counter(
    "apiserver_request_total",
    "API requests by verb, resource and answer code.",
    [
        "verb",
        "dry_run",
        "group",
        "version",
        "resource",
        "subresource",
        "scope",
        "component",
        "code",
    ],
)
_sli = Histogram(
    "apiserver_request_sli_duration_seconds",
    "Time to answer API requests, watches left out.",
    ["verb", "group", "version", "resource", "subresource", "scope", "component"],
    buckets=_BUCKETS,
)
_duration = Histogram(
    "apiserver_request_duration_seconds",
    "Time to answer API requests.",
    ["verb", "group", "version", "resource", "subresource", "scope", "component"],
    buckets=_BUCKETS,
)
_inflight = Gauge("apiserver_current_inflight_requests", "Requests being served.", ["request_kind"])
_longrunning = Gauge(
    "apiserver_longrunning_requests",
    "Watches, execs and logs being served.",
    ["verb", "group", "resource"],
)
_terminations = Counter(
    "apiserver_request_terminations_total",
    "Requests cut off to protect the server.",
    ["code", "component", "group", "resource", "scope", "subresource", "verb", "version"],
)
_certificate = Histogram(
    "apiserver_client_certificate_expiration_seconds",
    "Remaining life of the client certificates seen.",
    buckets=(0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 2592000, 7776000,
             15552000, 31104000),
)  # fmt: skip
objects = Gauge("apiserver_storage_objects", "Objects in the store.", ["resource"])
etcd_requests = Histogram(
    "etcd_request_duration_seconds",
    "Time of the store's answers.",
    ["operation", "type"],
    buckets=(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2, 5, 10, 30),
)


def scope(namespace: str, name: str, resource: str) -> str:
    if name:
        return "resource"
    if namespace:
        return "namespace"
    return "cluster" if resource else ""


def observe(
    verb: str,
    group: str,
    version: str,
    resource: str,
    subresource: str,
    namespace: str,
    name: str,
    code: int,
    seconds: float,
) -> None:
    """Count one finished request."""
    where = scope(namespace, name, resource)
    labels = (verb, group, version, resource, subresource, where, "apiserver")
    _requests.labels(
        verb, "", group, version, resource, subresource, where, "apiserver", code
    ).inc()
    _duration.labels(*labels).observe(seconds)
    if verb not in ("WATCH", "CONNECT"):
        _sli.labels(*labels).observe(seconds)


def terminated(verb: str, code: int) -> None:
    """Count a request that was refused to protect the server."""
    _terminations.labels(code, "apiserver", "", "", "", "", verb, "").inc()


def certificate_seen(seconds_left: float) -> None:
    _certificate.observe(seconds_left)


@contextmanager
def inflight(verb: str) -> Iterator[None]:
    gauge = _inflight.labels("mutating" if verb in _WRITES else "readOnly")
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()


@contextmanager
def watching(verb: str, group: str, resource: str) -> Iterator[None]:
    gauge = _longrunning.labels(verb.upper(), group, resource)
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()
