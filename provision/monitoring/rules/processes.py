"""Whether the lab's own processes are there. Pure."""

from __future__ import annotations

from provision.monitoring.rules.rule import Alert, Group

# Job, and what kube-prometheus calls its alerts; some also have one per instance.
_JOBS = (
    ("apiserver", "KubeAPI", "api-server"),
    ("kube-scheduler", "KubeScheduler", "scheduler"),
    ("kube-controller-manager", "KubeControllerManager", "controller-manager"),
    ("kubelet", "Kubelet", "kubelet"),
    ("kube-proxy", "KubeProxy", "proxy"),
)


def _up(job: str) -> str:
    path = ',metrics_path="/metrics"' if job == "kubelet" else ""
    return f'up{{job="{job}"{path}}}'


def _gone(job: str, name: str, what: str) -> tuple[Alert, Alert]:
    return (
        Alert(
            f"{name}Down", "15m", "critical", f"absent({_up(job)} == 1)",
            f"No {what} answers any more.",
        ),
        Alert(
            f"{name}InstanceUnreachable", "15m", "warning", f"{_up(job)} == 0",
            f"The {what} on {{{{ $labels.node }}}} does not answer.",
        ),
    )  # fmt: skip


GROUPS = (
    Group(
        "general.rules",
        (
            Alert(
                "TargetDown", "10m", "warning",
                "100 * avg by (cluster, job) (up == bool 0) > 10",
                '{{ printf "%.0f" $value }} % of the targets of {{ $labels.job }} are down.',
            ),
            Alert("Watchdog", "", "none", "vector(1)", "Alerts work: this one always fires."),
        ),
        "general",
    ),
    Group("processes", tuple(alert for row in _JOBS for alert in _gone(*row))),
    Group(
        "kube-state-metrics",
        tuple(
            Alert(
                f"KubeStateMetrics{verb.capitalize()}Errors", "15m", "critical",
                f"""sum by (cluster) (rate(kube_state_metrics_{verb}_total{{result="error"}}[5m]))
                / sum by (cluster) (rate(kube_state_metrics_{verb}_total[5m])) > 0.01""",
                f"muster-state-metrics fails to {verb} objects.",
            )
            for verb in ("list", "watch")
        ),
        "kube-state-metrics",
    ),
)  # fmt: skip
