"""What /metrics/slis says of a process' health checks."""

from __future__ import annotations

from kube.component.slis import Slis


def test_each_check_has_its_state_and_a_count_of_each_result() -> None:
    slis = Slis()
    slis.page({"etcd": lambda: None})
    text = slis.page({"etcd": lambda: "is not reachable"}).decode()
    for line in (
        'kubernetes_healthcheck{name="ping",type="healthz"} 1.0',
        'kubernetes_healthcheck{name="etcd",type="healthz"} 0.0',
        'kubernetes_healthchecks_total{name="etcd",status="success",type="healthz"} 1.0',
        'kubernetes_healthchecks_total{name="etcd",status="error",type="healthz"} 1.0',
    ):
        assert line in text, line
