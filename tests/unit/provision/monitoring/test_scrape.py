"""What a Prometheus is told to scrape."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from master.statemetrics.kinds import pod
from provision.dashboards import BOARDS
from provision.identities import allocate
from provision.labfile.parse import parse_lab
from provision.monitoring.rules import rules_text
from provision.monitoring.scrape import scrape_config


def test_a_kubelet_is_one_job_with_a_label_for_the_path() -> None:
    record = allocate(parse_lab("apiVersion: muster/v1\nkind: Lab\nspec: {workers: 1}"), {})
    jobs = yaml.safe_load(scrape_config(record, Path("/pki")))["scrape_configs"]
    kubelets = [j for j in jobs if j["static_configs"][0]["labels"].get("job") == "kubelet"]
    assert [j["job_name"] for j in kubelets] == ["kubelet", "kubelet-cadvisor", "kubelet-probes"]
    for job, path in zip(
        kubelets, ("/metrics", "/metrics/cadvisor", "/metrics/probes"), strict=True
    ):
        assert (job["metrics_path"], job["honor_labels"]) == (path, True)
        assert [g["labels"]["metrics_path"] for g in job["static_configs"]] == [path] * 2
        assert {g["labels"]["node"] for g in job["static_configs"]} == {"m1", "w1"}
    assert len({job["job_name"] for job in jobs}) == len(jobs)


def test_series_of_objects_get_no_node_from_the_master_that_serves_them() -> None:
    record = allocate(parse_lab("apiVersion: muster/v1\nkind: Lab\nspec: {workers: 1}"), {})
    jobs = yaml.safe_load(scrape_config(record, Path("/pki")))["scrape_configs"]
    (job,) = (j for j in jobs if j["job_name"] == "kube-state-metrics")
    assert job["honor_labels"] is True
    assert [set(group["labels"]) for group in job["static_configs"]] == [{"cluster"}]


def test_of_a_pod_only_what_somebody_asks_for_is_kept() -> None:
    """A rule or a panel of ours at least, else a thousand pods fill the memory with the rest."""
    record = allocate(parse_lab("apiVersion: muster/v1\nkind: Lab\nspec: {workers: 1}"), {})
    jobs = yaml.safe_load(scrape_config(record, Path("/pki")))["scrape_configs"]
    (job,) = (j for j in jobs if j["job_name"] == "kube-state-metrics")
    (drop,) = job["metric_relabel_configs"]
    asked = rules_text() + "".join(expr for board in BOARDS for _, expr in board.queries())
    dropped = [f.name for f in pod.KIND.families if re.fullmatch(drop["regex"], f.name)]
    assert len(dropped) == 9
    assert not [name for name in dropped if re.search(rf"\b{name}\b", asked)]
