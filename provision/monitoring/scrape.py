"""A Prometheus scrape configuration for a lab: every process, under the job names of the mixins.

kubernetes-mixin (as kube-prometheus renders it) selects by `job` and `cluster`; etcd's by
`job=~".*etcd.*"`. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from provision.identities import LabRecord
from provision.payload.exporter import PORT as NODE_EXPORTER_PORT
from provision.providers.base import MachineSpec

INTERVAL = "15s"
# Twelve series of each pod that no published rule or dashboard asks for.
_UNASKED = (
    "tolerations|scheduler|service_account|restart_policy|created"
    "|status_(qos_class|scheduled|scheduled_time|unscheduled_time)"
)


def scrape_config(record: LabRecord, pki: Path, *, node_exporter: bool = True) -> str:
    """The text of prometheus.yml; `pki` is the lab's PKI directory on this host."""
    masters, everybody = record.masters, record.machines
    jobs = [
        _api_server(record, pki),
        _job(record, "etcd", masters, 2381, pki / "etcd"),
        _job(record, "kube-scheduler", masters, 10259, pki),
        _job(record, "kube-controller-manager", masters, 10257, pki),
        _kubelet(record, pki, "/metrics"),
        _kubelet(record, pki, "/metrics/cadvisor"),
        _kubelet(record, pki, "/metrics/probes"),
        _state_metrics(record, pki),
        _labelled(_job(record, "kube-state-metrics", masters, 8081, pki), "-self"),
        _job(record, "kube-proxy", everybody, 10249, pki),
        _job(record, "muster-network", everybody, 10012, pki),
    ]
    if node_exporter:
        jobs.append(_node_exporter(record, pki))
    if record.lab.spec.runtime == "muster":
        jobs.append(_job(record, "muster-runtime", everybody, 10011, pki))
    document = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["rules.yml"],  # beside this file
        "scrape_configs": jobs,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _api_server(record: LabRecord, pki: Path) -> dict[str, Any]:
    """Without the buckets that rules and dashboards have as the SLI's, by the same labels."""
    twice = {
        "source_labels": ["__name__"],
        "regex": "apiserver_request_duration_seconds_bucket",
        "action": "drop",
    }
    job = _job(record, "apiserver", record.masters, 6443, pki)
    return job | {"metric_relabel_configs": [twice]}


def _kubelet(record: LabRecord, pki: Path, path: str) -> dict[str, Any]:
    """One job for all paths, told apart by a label, as kube-prometheus' ServiceMonitor has it."""
    job = _job(record, "kubelet", record.machines, 10250, pki)
    # What series say of their pods is theirs.
    job |= {"metrics_path": path, "honor_labels": True}
    for group in job["static_configs"]:
        group["labels"] |= {"metrics_path": path}
    return _labelled(job, path.removeprefix("/metrics").replace("/", "-"))


def _node_exporter(record: LabRecord, pki: Path) -> dict[str, Any]:
    """kube-prometheus calls a machine's instance by its node's name."""
    job = _job(record, "node-exporter", record.machines, NODE_EXPORTER_PORT, pki)
    for group in job["static_configs"]:
        group["labels"] |= {"instance": group["labels"]["node"]}
    return job


def _state_metrics(record: LabRecord, pki: Path) -> dict[str, Any]:
    """Its series are of other objects than the master that serves them: without the label `node`,
    which a pod that waits for one would get from here."""
    job = _job(record, "kube-state-metrics", record.masters, 8080, pki)
    unasked = {"source_labels": ["__name__"], "regex": f"kube_pod_({_UNASKED})", "action": "drop"}
    job |= {"honor_labels": True, "metric_relabel_configs": [unasked]}
    for group in job["static_configs"]:
        del group["labels"]["node"]
    return job


def _labelled(job: dict[str, Any], suffix: str) -> dict[str, Any]:
    """Two configurations cannot have one name: theirs differ, the label `job` does not."""
    for group in job["static_configs"]:
        group["labels"] |= {"job": job["job_name"]}
    return job | {"job_name": job["job_name"] + suffix}


def _job(
    record: LabRecord, name: str, machines: Sequence[MachineSpec], port: int, pki: Path
) -> dict[str, Any]:
    return {
        "job_name": name,
        "scheme": "https",
        "tls_config": {
            "ca_file": str(pki / "ca.crt"),
            "cert_file": str(pki / "monitoring.crt"),
            "key_file": str(pki / "monitoring.key"),
        },
        "static_configs": [
            {
                "targets": [f"{machine.address}:{port}"],
                "labels": {"cluster": record.name, "node": machine.name},
            }
            for machine in machines
        ],
    }
