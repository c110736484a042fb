"""A component's own port answers those whom the api-server lets read it, and nobody else."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.security.ports_world import KUBELET, PEOPLE, PORTS, STORE, World, world

pytestmark = pytest.mark.root
READERS = ("monitoring", "administrator")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("images")) as standing:
        try:
            yield standing
        finally:
            print(standing.node.tail())  # pytest shows it with a failure


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("component", PORTS)
def test_metrics_are_for_those_who_may_read_them(made: World, component: str, who: str) -> None:
    port, files = PORTS[component], made.people[who]
    status, body = made.ask(port, "/metrics", files)
    if who in READERS:
        assert status == 200 and "process_cpu_seconds_total" in body
    else:
        user = PEOPLE[who][0]
        assert (status, json.loads(body)["message"]) == (
            403, f'forbidden: User "{user}" cannot get path "/metrics"',
        )  # fmt: skip
        # What is not there is told to nobody either, nor is another method a way in.
        assert made.ask(port, "/nothing", files)[0] == 403
        assert made.ask(port, "/metrics", files, "POST")[0] == 403
    for path in ("/healthz", "/livez", "/readyz"):
        assert made.ask(port, path, files)[0] in (200, 500)  # 500: not well; but answered


_NODE_PATHS = {
    "/metrics": "metrics", "/metrics/cadvisor": "metrics", "/stats/summary": "stats",
    "/healthz": "healthz proxy", "/livez": "healthz proxy", "/readyz": "healthz proxy",
    "/pods": "pods proxy", "/containerLogs/default/p/c": "proxy", "/exec/default/p/c": "proxy",
    "/attach/default/p/c": "proxy", "/configz": "configz proxy", "/logs/": "log",
    "/nothing": "proxy",
}  # fmt: skip
_MONITORED = ("/metrics", "/metrics/cadvisor", "/stats/summary", "/healthz", "/livez", "/readyz")


@pytest.mark.parametrize("path", _NODE_PATHS)
def test_every_path_of_the_kubelet_is_asked_for(made: World, path: str) -> None:
    for who, (user, _) in PEOPLE.items():
        status, body = made.ask(KUBELET, path, made.people[who])
        allowed = who in ("administrator", "kubelet client") or (
            who == "monitoring" and path in _MONITORED
        )
        if allowed:
            assert status not in (0, 401, 403), (who, body)
        else:
            said = f"Forbidden (user={user}, verb=get, resource=nodes, subresource(s)="
            assert (status, body) == (403, f"{said}[{_NODE_PATHS[path]}])\n"), who


@pytest.mark.parametrize(
    "path", ["/metrics/../pods", "/metrics/%2e%2e/pods", "/metrics%2f..%2fpods", "//pods", "/pods/",
             "/./pods", "/%70ods", "/PODS"],
)  # fmt: skip
def test_no_spelling_of_a_path_is_a_way_in(made: World, path: str) -> None:
    status, body = made.ask(KUBELET, path, made.people["monitoring"])
    assert status in (403, 404) and "PodList" not in body


def test_a_certificate_of_another_ca_gets_no_connection(made: World) -> None:
    for port in (*PORTS.values(), KUBELET):
        stranger = made.store["monitoring"]
        trusting = type(stranger)(stranger.cert, stranger.key, made.people["anybody"].ca)
        assert made.ask(port, "/metrics", trusting)[0] == 0


def test_the_store_answers_certificates_of_its_own_ca_alone(made: World) -> None:
    """It has no api-server to ask. No worker has a certificate of that CA."""
    assert made.ask(STORE, "/metrics", made.store["monitoring"])[0] == 200
    for who, files in made.people.items():
        trusting = type(files)(files.cert, files.key, made.store["server"].ca)
        assert made.ask(STORE, "/metrics", trusting)[0] == 0, who


def test_the_api_server_still_reaches_the_kubelet(made: World) -> None:
    told = made.node.kubectl("logs", "nothing", check=False)
    assert 'pods "nothing" not found' in told.stderr
    status, body = made.ask(KUBELET, "/pods", made.node.kubelet_client)
    assert status == 200 and json.loads(body)["kind"] == "PodList"
    who = "--as=kube-apiserver-kubelet-client"
    can = made.node.kubectl("auth", "can-i", "create", "nodes", "--subresource=proxy", who)
    assert can.stdout.strip() == "yes"


def test_without_an_api_server_nobody_new_is_let_in(made: World) -> None:
    """Last: it stops the api-server."""
    known = {"administrator": 200, "other node": 403}
    made.node.stop("apiserver", signal.SIGKILL)
    try:
        for port in PORTS.values():
            new = made.fresh(f"new-{port}", f"new-{port}", "system:monitoring")
            status, body = made.ask(port, "/metrics", new)
            assert status == 500 and "Internal Server Error" in body
            # What was answered lately may still hold; it never turns into its opposite.
            for who, expected in known.items():
                assert made.ask(port, "/metrics", made.people[who])[0] in (expected, 500)
            assert made.healthy(port)
        new = made.fresh("new-kubelet", "new", "system:monitoring")
        assert made.ask(KUBELET, "/metrics", new) == (
            500, "Authorization error (user=new, verb=get, resource=nodes, subresource=metrics)\n",
        )  # fmt: skip
    finally:
        made.node.start_apiserver()
