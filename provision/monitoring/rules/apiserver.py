"""The api-server: how many requests fail or are slow, and what its clients run into. Pure.

The service level is upstream's: 99 % of requests, over 30 days.
"""

from __future__ import annotations

from provision.monitoring.rules.rule import Alert, Group, Record

_BUDGET = 0.01
_VERBS = {"read": "LIST|GET", "write": "POST|PUT|PATCH|DELETE"}
_LONG = 'subresource!~"proxy|attach|log|exec|portforward"'
_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# How much faster than the budget allows it goes, over which windows.
_BURNS = (
    (14.4, "1h", "5m", "2m", "critical"),
    (6.0, "6h", "30m", "15m", "critical"),
    (3.0, "1d", "2h", "1h", "warning"),
    (1.0, "3d", "6h", "3h", "warning"),
)
_DURATION = "apiserver_request_sli_duration_seconds"


def _slow(verb: str, window: str) -> str:
    """Requests that took longer than their service level, per second."""
    chosen = f'job="apiserver",verb=~"{_VERBS[verb]}",{_LONG}'
    every = f"sum by (cluster) (rate({_DURATION}_count{{{chosen}}}[{window}]))"
    limits = {"write": (("", "1"),)}.get(
        verb,
        (('scope=~"resource|",', "1"), ('scope="namespace",', "5"), ('scope="cluster",', "30")),
    )
    in_time = " + ".join(
        f"(sum by (cluster) (rate({_DURATION}_bucket"
        f'{{{scope}{chosen},le=~"{seconds}([.]0)?"}}[{window}])) or 0 * {every})'
        for scope, seconds in limits
    )
    return f"({every} - ({in_time}))"


def _every(verb: str, window: str) -> str:
    chosen = f'job="apiserver",verb=~"{_VERBS[verb]}"'
    return f"sum by (cluster) (rate(apiserver_request_total{{{chosen}}}[{window}]))"


def _bad(verb: str, window: str) -> str:
    """Requests that were late or failed, per second."""
    chosen = f'job="apiserver",verb=~"{_VERBS[verb]}",code=~"5.."'
    failed = f"sum by (cluster) (rate(apiserver_request_total{{{chosen}}}[{window}]))"
    return f"({_slow(verb, window)} + ({failed} or 0 * {_every(verb, window)}))"


def _burn(verb: str, window: str) -> Record:
    expr = f"{_bad(verb, window)} / {_every(verb, window)}"
    return Record(f"apiserver_request:burnrate{window}", expr, {"verb": verb})


_COUNTED = ("apiserver_request:bad:rate5m", "apiserver_request:every:rate5m")


def _availability(verb: str) -> Record:
    """Of 30 days, or of as many as Prometheus remembers, each request counting the same."""
    chosen = "" if verb == "all" else f'{{verb="{verb}"}}'
    bad, every = (f"sum by (cluster) (sum_over_time({series}{chosen}[30d]))" for series in _COUNTED)
    return Record("apiserver_request:availability30d", f"1 - {bad} / {every}", {"verb": verb})


def _burns_budget(factor: float, long: str, short: str, delay: str, severity: str) -> Alert:
    limit = f"{factor * _BUDGET:.5f}"
    rates = [f"sum by (cluster) (apiserver_request:burnrate{w}) > {limit}" for w in (long, short)]
    return Alert(
        "KubeAPIErrorBudgetBurn", delay, severity, " and ".join(rates),
        "The API answers too many requests late or with errors.", {"long": long, "short": short},
    )  # fmt: skip


def _certificate(seconds: int, severity: str, words: str) -> Alert:
    return Alert(
        "KubeClientCertificateExpiration", "5m", severity,
        f"""histogram_quantile(0.01, sum by (cluster, job, instance, le) (
        rate(apiserver_client_certificate_expiration_seconds_bucket{{job="apiserver"}}[5m])))
        < {seconds} and on (cluster, job, instance)
        apiserver_client_certificate_expiration_seconds_count{{job="apiserver"}} > 0""",
        f"A client's certificate runs out within {words}.",
    )  # fmt: skip


GROUPS = (
    Group(
        "kube-apiserver.rules",
        (
            *(_burn(verb, window) for verb in _VERBS for window in _WINDOWS),
            *(
                Record(
                    f"cluster_quantile:{_DURATION}:histogram_quantile",
                    f"""histogram_quantile(0.99, sum by (cluster, le, resource) (rate(
                    {_DURATION}_bucket{{job="apiserver",verb=~"{verbs}",{_LONG}}}[5m]))) > 0""",
                    {"verb": verb, "quantile": "0.99"},
                )
                for verb, verbs in _VERBS.items()
            ),
            *(
                Record(
                    "code_resource:apiserver_request_total:rate5m",
                    f"""sum by (cluster, code, resource) (rate(
                    apiserver_request_total{{job="apiserver",verb=~"{verbs}"}}[5m]))""",
                    {"verb": verb},
                )
                for verb, verbs in _VERBS.items()
            ),
        ),
    ),
    Group(
        "kube-apiserver-availability.rules",
        (
            *(
                Record(series, expr(verb, "5m"), {"verb": verb})
                for series, expr in zip(_COUNTED, (_bad, _every), strict=True)
                for verb in _VERBS
            ),
            *map(_availability, ("all", *_VERBS)),
        ),
        interval="1m",
    ),
    Group("kube-apiserver-slos", tuple(_burns_budget(*burn) for burn in _BURNS)),
    Group(
        "kubernetes-system-apiserver",
        (
            _certificate(7 * 86400, "warning", "a week"),
            _certificate(86400, "critical", "a day"),
            Alert(
                "KubeAPITerminatedRequests", "5m", "warning",
                """sum by (cluster) (rate(apiserver_request_terminations_total{job="apiserver"}[10m]))
                / (sum by (cluster) (rate(apiserver_request_total{job="apiserver"}[10m]))
                + sum by (cluster) (rate(apiserver_request_terminations_total{job="apiserver"}[10m])))
                > 0.20""",
                "The api-server turns away {{ $value | humanizePercentage }} of all requests.",
            ),
        ),
    ),
    Group(
        "kubernetes-system",
        (
            Alert(
                "KubeVersionMismatch", "15m", "warning",
                "count by (cluster) (count by (cluster, git_version) (kubernetes_build_info)) > 1",
                "Processes of {{ $value }} versions run at once.",
            ),
            Alert(
                "KubeClientErrors", "15m", "warning",
                """sum by (cluster, instance, job) (rate(rest_client_requests_total{code=~"5.."}[5m]))
                / sum by (cluster, instance, job) (rate(rest_client_requests_total[5m])) > 0.01""",
                "Of the calls that {{ $labels.job }} on {{ $labels.instance }} makes to the API, "
                "{{ $value | humanizePercentage }} fail.",
            ),
        ),
    ),
)  # fmt: skip
