"""The state metrics' process, on a real control plane: who serves the series, and when."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Iterator

import pytest

from tests.component.control_harness import ControlPlane, control_plane
from tests.component.kvstore_harness import free_ports, wait_until
from tests.component.pki_fixture import Pki


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("control"), pki) as plane:
        yield plane


class Scraper:
    """Reads pages by the certificate of a user."""

    def __init__(self, control: ControlPlane, user: str, *groups: str) -> None:
        tls = control.pki.issue(user, organizations=groups)
        self._context = ssl.create_default_context(cafile=str(tls.ca))
        self._context.load_cert_chain(tls.cert, tls.key)

    def page(self, port: int, path: str = "/metrics") -> tuple[int, str]:
        """Status and text; no status (0) while nobody answers."""
        connection = http.client.HTTPSConnection(
            "localhost", port, timeout=10, context=self._context
        )
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except OSError:
                return 0, ""


def start(control: ControlPlane, name: str) -> tuple[int, int]:
    port, telemetry = free_ports(2)
    control.start_state_metrics(name, port, telemetry)
    return port, telemetry


def test_the_leaders_series_follow_the_objects_and_another_takes_over(
    control: ControlPlane,
) -> None:
    scraper = Scraper(control, "prometheus", "system:monitoring")
    first, telemetry = start(control, "first")

    def says(port: int, words: str) -> bool:
        return words in scraper.page(port)[1]

    here, noted = (
        'kube_namespace_created{namespace="default"}',
        'kube_configmap_info{namespace="default",configmap="noted"} 1',
    )
    wait_until(lambda: says(first, here), 60, "series of the first")
    second, _ = start(control, "second")
    control.kubectl("create", "configmap", "noted", "--from-literal=a=b")
    wait_until(lambda: says(first, noted), 60, "series of the ConfigMap")
    wait_until(lambda: scraper.page(second)[0] == 200, 60, "the second to answer")
    assert scraper.page(second) == (200, "")  # it stands by: no series is there twice
    own = scraper.page(telemetry)[1]
    assert 'kube_state_metrics_list_total{resource="pods",result="success"} 1.0' in own
    assert 'kube_state_metrics_watch_total{resource="pods",result="error"} 0.0' in own
    assert "process_resident_memory_bytes" in own and "kube_pod_info" not in own
    control.kubectl("delete", "configmap", "noted")
    wait_until(lambda: not says(first, noted), 60, "the ConfigMap's series to go")
    control.kill("first")
    wait_until(lambda: says(second, here), 60, "series of the second")
    control.kill("second")


def test_only_who_may_read_metrics_sees_them(control: ControlPlane) -> None:
    ports = start(control, "only")
    somebody = Scraper(control, "somebody")
    for port in ports:
        wait_until(lambda port=port: somebody.page(port, "/livez")[0] == 200, 60, "health")
        assert somebody.page(port)[0] == 403
