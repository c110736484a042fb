"""The client's metrics, with client-go's names and labels."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "rest_client_requests_total",
    "Number of requests to the api-server, by status code, method and host.",
    ["code", "method", "host"],
)
DURATION = Histogram(
    "rest_client_request_duration_seconds",
    "Request latency in seconds, by verb and host.",
    ["verb", "host"],
    buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0),
)

# client-go counts HTTP methods and codes; a call of ours counts as the request it stands for.
METHODS = {
    "Get": "GET",
    "List": "GET",
    "Watch": "GET",
    "Discover": "GET",
    "Create": "POST",
    "Update": "PUT",
    "Patch": "PATCH",
    "Delete": "DELETE",
}

_FAILURES = ("404", "500")
_HOSTS: set[str] = set()


def observe(call: str, host: str, code: int | str, seconds: float) -> None:
    """Count one finished call. `code` is the HTTP code, or `<error>` when none came back."""
    method = METHODS[call]
    if host not in _HOSTS:
        _HOSTS.add(host)
        for failed in _FAILURES:  # at 0: a rate does not miss the first failure
            REQUESTS.labels(code=failed, method=method, host=host)
    REQUESTS.labels(code=str(code), method=method, host=host).inc()
    DURATION.labels(verb=method, host=host).observe(seconds)
