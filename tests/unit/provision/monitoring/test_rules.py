"""The rules over a lab's series, read and run by the real promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.monitoring.rules import GROUPS, rules_text
from provision.monitoring.rules.rule import Alert


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yml"
    path.write_text(rules_text())
    return path


def test_prometheus_accepts_them(rules: Path) -> None:
    promtool("check", "rules", str(rules))


def test_every_alert_says_how_bad_it_is_and_leads_to_a_runbook() -> None:
    alerts = [(group, rule) for group in GROUPS for rule in group.rules if isinstance(rule, Alert)]
    assert len({alert.name for _, alert in alerts}) >= 60
    for group, alert in alerts:
        assert alert.severity in ("critical", "warning", "info", "none")
        url = alert.document(group.runbooks)["annotations"]["runbook_url"]
        assert re.fullmatch(r"https://[a-z./-]+/[a-z-]+/[a-z]+", url), url


KSM = 'cluster="c",job="kube-state-metrics"'
# Series, when to look, the alerts that fire then, and those that do not.
CASES: dict[str, tuple[dict[str, str], str, set[str], set[str]]] = {
    "a node that is not Ready": (
        {f'kube_node_status_condition{{{KSM},node="w1",condition="Ready",status="true"}}': "0x80"},
        "16m", {"KubeNodeNotReady"}, {"KubeNodeReadinessFlapping", "KubeNodePressure"},
    ),
    "one that is cordoned": (
        {f'kube_node_status_condition{{{KSM},node="w1",condition="Ready",status="true"}}': "0x80",
         f'kube_node_spec_unschedulable{{{KSM},node="w1"}}': "1x80"},
        "16m", set(), {"KubeNodeNotReady"},
    ),
    "one whose readiness flaps": (
        {f'kube_node_status_condition{{{KSM},node="w1",condition="Ready",status="true"}}':
         "1x4 0x4 1x4 0x4 1x4 0x4 1x4 0x4 1x4 0x4 1x40"},
        "35m", {"KubeNodeReadinessFlapping"}, {"KubeNodeNotReady"},
    ),
    "an unreachable node": (
        {f'kube_node_spec_taint{{{KSM},node="w1",key="node.kubernetes.io/unreachable",'
         'effect="NoSchedule"}': "1x80"},
        "16m", {"KubeNodeUnreachable"}, set(),
    ),
    "a crash loop": (
        {f'kube_pod_container_status_waiting_reason{{{KSM},namespace="n",pod="p",container="c",'
         'reason="CrashLoopBackOff"}': "1x4 _x4 1x4 _x4 1x4 _x4 1x60"},
        "20m", {"KubePodCrashLooping"}, {"KubeContainerWaiting"},
    ),
    "a Deployment that lacks pods": (
        {f'kube_deployment_spec_replicas{{{KSM},namespace="n",deployment="d"}}': "3x80",
         f'kube_deployment_status_replicas_available{{{KSM},namespace="n",deployment="d"}}': "1x80",
         f'kube_deployment_status_replicas_updated{{{KSM},namespace="n",deployment="d"}}': "3x80"},
        "16m", {"KubeDeploymentReplicasMismatch"}, {"KubeDeploymentGenerationMismatch"},
    ),
    "two members of three down": (
        {'up{cluster="c",job="etcd",instance="1"}': "1x80",
         'up{cluster="c",job="etcd",instance="2"}': "0x80",
         'up{cluster="c",job="etcd",instance="3"}': "0x80"},
        "5m", {"etcdInsufficientMembers"}, {"etcdMembersDown"},
    ),
    "one member of three down": (
        {'up{cluster="c",job="etcd",instance="1"}': "1x80",
         'up{cluster="c",job="etcd",instance="2"}': "1x80",
         'up{cluster="c",job="etcd",instance="3"}': "0x80"},
        "21m", {"etcdMembersDown", "TargetDown"}, {"etcdInsufficientMembers"},
    ),
    "a store without a leader": (
        {'etcd_server_has_leader{cluster="c",job="etcd",instance="1",node="m1"}': "0x80"},
        "2m", {"etcdNoLeader"}, set(),
    ),
    "no api-server": (
        {'up{cluster="c",job="apiserver",instance="1",node="m1"}': "0x80"},
        "16m", {"KubeAPIDown", "KubeAPIInstanceUnreachable"}, set(),
    ),
    "an API that fails one request in three": (
        {'apiserver_request_total{cluster="c",job="apiserver",verb="GET",code="200"}': "0+200x80",
         'apiserver_request_total{cluster="c",job="apiserver",verb="GET",code="500"}': "0+100x80",
         'apiserver_request_sli_duration_seconds_count{cluster="c",job="apiserver",verb="GET",'
         'scope="resource"}': "0+300x80",
         'apiserver_request_sli_duration_seconds_bucket{cluster="c",job="apiserver",verb="GET",'
         'scope="resource",le="1.0"}': "0+300x80"},
        "10m", {"KubeAPIErrorBudgetBurn"}, set(),
    ),
    "an API that answers all in time": (
        {'apiserver_request_total{cluster="c",job="apiserver",verb="GET",code="200"}': "0+200x80",
         'apiserver_request_sli_duration_seconds_count{cluster="c",job="apiserver",verb="GET",'
         'scope="resource"}': "0+200x80",
         'apiserver_request_sli_duration_seconds_bucket{cluster="c",job="apiserver",verb="GET",'
         'scope="resource",le="1.0"}': "0+200x80"},
        "30m", set(), {"KubeAPIErrorBudgetBurn"},
    ),
    "a quota that is used up": (
        {f'kube_resourcequota{{{KSM},namespace="n",resourcequota="q",resource="pods",type="hard"}}':
         "10x80",
         f'kube_resourcequota{{{KSM},namespace="n",resourcequota="q",resource="pods",type="used"}}':
         "10x80"},
        "16m", {"KubeQuotaFullyUsed"}, {"KubeQuotaExceeded", "KubeQuotaAlmostFull"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should(case: str, rules: Path, tmp_path: Path) -> None:
    series, when, firing, quiet = CASES[case]
    every = {rule.name: rule for g in GROUPS for rule in g.rules if isinstance(rule, Alert)}
    assert firing | quiet <= set(every)
    # ALERTS is what Prometheus itself makes of an alert; its other labels are not the question.
    names = "|".join(sorted(firing | quiet))
    fires = f'count by (alertname) (ALERTS{{alertstate="firing",alertname=~"{names}"}}) > bool 0'
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)]
    document: dict[str, Any] = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "promql_expr_test": [{"expr": fires, "eval_time": when, "exp_samples": expected}],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(document))
    promtool("test", "rules", str(path))


def test_availability_counts_each_request_the_same(rules: Path, tmp_path: Path) -> None:
    """100 reads a minute, none bad, and 300 writes of which a third fails: one in four is bad."""

    def api(verb: str, code: str) -> str:
        return f'apiserver_request_total{{cluster="c",job="apiserver",verb="{verb}",code="{code}"}}'

    def sli(verb: str, of: str) -> str:
        labels = f'job="apiserver",scope="resource",verb="{verb}"'
        return f"apiserver_request_sli_duration_seconds_{of},{labels}}}"

    series = {api("GET", "200"): "0+100x30", api("POST", "201"): "0+200x30",
              api("POST", "500"): "0+100x30"}  # fmt: skip
    for verb, rate in (("GET", 100), ("POST", 300)):
        series[sli(verb, 'count{cluster="c"')] = f"0+{rate}x30"
        series[sli(verb, 'bucket{cluster="c",le="1"')] = f"0+{rate}x30"
    name = "apiserver_request:availability30d"
    samples = [
        {"labels": f'{{cluster="c",verb="{verb}"}}', "value": value}
        for verb, value in (("all", 0.75), ("read", 1), ("write", 0.667))
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": k, "values": v} for k, v in series.items()],
        "promql_expr_test": [
            {"expr": f"round({name}, 0.001)", "eval_time": "20m", "exp_samples": samples}
        ],
    }
    path = tmp_path / "test.yml"
    document = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
    path.write_text(yaml.safe_dump(document))
    promtool("test", "rules", str(path))


OWNERS = {
    'kube_pod_owner{cluster="c",namespace="n",pod="web-1-a",owner_kind="ReplicaSet",'
    'owner_name="web-1"}': "1x9",
    'kube_replicaset_owner{cluster="c",namespace="n",replicaset="web-1",owner_kind="Deployment",'
    'owner_name="web"}': "1x9",
    'kube_pod_owner{cluster="c",namespace="n",pod="own-a",owner_kind="ReplicaSet",'
    'owner_name="own"}': "1x9",
    'kube_replicaset_owner{cluster="c",namespace="n",replicaset="own",owner_kind="",'
    'owner_name=""}': "1x9",
    'kube_pod_owner{cluster="c",namespace="n",pod="bare",owner_kind="",owner_name=""}': "1x9",
    'kube_pod_owner{cluster="c",namespace="n",pod="static-m1",owner_kind="Node",'
    'owner_name="m1"}': "1x9",
    'kube_pod_owner{cluster="c",namespace="n",pod="db-0",owner_kind="StatefulSet",'
    'owner_name="db"}': "1x9",
}


def test_every_pod_belongs_to_one_workload(rules: Path, tmp_path: Path) -> None:
    name = "namespace_workload_pod:kube_pod_owner:relabel"
    expected = {
        "web-1-a": ("web", "deployment"), "own-a": ("own", "replicaset"),
        "bare": ("bare", "barepod"), "static-m1": ("static-m1", "staticpod"),
        "db-0": ("db", "statefulset"),
    }  # fmt: skip
    samples = [
        {"labels": f'{name}{{cluster="c",namespace="n",pod="{pod}",workload="{workload}",'
                   f'workload_type="{kind}"}}', "value": 1}
        for pod, (workload, kind) in expected.items()
    ]  # fmt: skip
    test = {
        "interval": "1m",
        "input_series": [{"series": k, "values": v} for k, v in OWNERS.items()],
        "promql_expr_test": [{"expr": name, "eval_time": "5m", "exp_samples": samples}],
    }
    path = tmp_path / "test.yml"
    document = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
    path.write_text(yaml.safe_dump(document))
    promtool("test", "rules", str(path))
