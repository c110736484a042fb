"""Every component of a lab in one network namespace, and who reads what on their ports."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path
from typing import TypeVar

from kube.component.tls import TlsFiles, client_context
from provision.pki.authority import KeyPair, LeafRequest, issue, new_authority
from tests.component.kubelet_harness import CLONE_NEWNET, NODE, NODE_IP, Machine, machine
from tests.component.runtime_harness import REPO, wait_until

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)
# Port by component: those that ask the api-server, the kubelet's, and the store's.
PORTS = {"kube-scheduler": 10259, "kube-controller-manager": 10257, "kube-proxy": 10249,
         "muster-network": 10012, "muster-runtime": 10011}  # fmt: skip
KUBELET, STORE = 10250, 2381
# Who asks: the user and his groups, all with certificates of the cluster's CA.
PEOPLE: dict[str, tuple[str, tuple[str, ...]]] = {
    "monitoring": ("muster-monitoring", ("system:monitoring",)),
    "administrator": ("kubernetes-admin", ("kubeadm:cluster-admins",)),
    "own node": (f"system:node:{NODE}", ("system:nodes",)),
    "other node": ("system:node:w9", ("system:nodes",)),
    "kube-proxy": ("system:kube-proxy", ("system:node-proxier",)),
    "component": ("muster-component", ("system:muster:component",)),
    "kubelet client": ("kube-apiserver-kubelet-client", ()),
    "anybody": ("somebody", ()),
}


class World:
    def __init__(self, node: Machine) -> None:
        self.node = node
        pki = node.identities
        self.people = {
            who: pki.files(f"who-{number}", user, *groups)
            for number, (who, (user, groups)) in enumerate(PEOPLE.items())
        }
        self.component = pki.files(
            "component", "muster-component", "system:muster:component", serves=True
        )
        self._directory = node.lab.root / "ports"
        self._directory.mkdir()
        self.store = self._store_identities()

    def _store_identities(self) -> dict[str, TlsFiles]:
        """The store has a CA of its own."""
        now = datetime.now(UTC)
        authority = new_authority("etcd-ca", now)
        made = {}
        for who, request in (
            ("server", LeafRequest("m1", (), ("localhost",), ("127.0.0.1", NODE_IP), True, True)),
            ("monitoring", LeafRequest("muster-monitoring", ("system:monitoring",), client=True)),
        ):
            made[who] = self._written(f"etcd-{who}", issue(authority, request, now), authority)
        return made

    def _written(self, name: str, pair: KeyPair, authority: KeyPair) -> TlsFiles:
        files = TlsFiles(*(self._directory / f"{name}.{end}" for end in ("crt", "key", "ca")))
        files.cert.write_bytes(pair.cert)
        files.key.write_bytes(pair.key)
        files.ca.write_bytes(authority.cert)
        return files

    def start(self) -> None:
        pki, root = self.node.identities, self._directory
        tls = _flags(self.component)
        conf = {
            user: str(pki.kubeconfig(pki.files(f"user-{user}", user, *groups), user))
            for user, groups in (
                ("system:kube-scheduler", ()), ("system:kube-controller-manager", ()),
                ("system:kube-proxy", ("system:node-proxier",)),
                ("system:muster:network", ("system:node-proxier",)),
            )
        }  # fmt: skip
        api = ("--api-servers", "127.0.0.1:6444")
        for name, module, user in (
            ("kube-scheduler", "master.scheduler", "system:kube-scheduler"),
            ("kube-controller-manager", "master.controllers", "system:kube-controller-manager"),
        ):
            # One that loses its lease ends, and a test takes the api-server away.
            alone = "--leader-elect=false"
            self._python(name, module, *api, "--kubeconfig", conf[user], *tls, alone)
        self._python(
            "kube-proxy", "worker.proxy", *api, "--kubeconfig", conf["system:kube-proxy"], *tls,
            "--hostname-override", NODE,
        )  # fmt: skip
        self._python(
            "muster-network", "worker.network", *api, "--kubeconfig",
            conf["system:muster:network"], *tls, "--node-name", NODE, "--bind-address", NODE_IP,
            "--cni-conf-dir", str(root / "cni"),
        )  # fmt: skip
        self._python(
            "muster-runtime", "worker.runtime", *api, *tls, "--listen", str(root / "cri.sock"),
            "--root", str(root / "lib"), "--state", str(self.node.lab.state / "second"),
            "--netns-dir", str(root / "netns"), "--cni-conf-dir", str(root / "cni"),
            "--metrics-address", f"{NODE_IP}:{PORTS['muster-runtime']}",
        )  # fmt: skip
        self._start_store()
        for name, port in PORTS.items():
            wait_until(f"{name} serves", lambda port=port: self.healthy(port), 60)

    def _start_store(self) -> None:
        server, url = self.store["server"], "https://127.0.0.1"
        files = (server.cert, server.key, server.ca)
        names = ("cert-file", "key-file", "trusted-ca-file")
        tls = [x for n, f in zip(names, files, strict=True) for x in (f"--{n}", str(f))]
        tls += [x for n, f in zip(names, files, strict=True) for x in (f"--peer-{n}", str(f))]
        self._python(
            "muster-kvstore", "master.kvstore", "--name", "s", *tls, "--client-cert-auth",
            "--peer-client-cert-auth", "--data-dir", str(self._directory / "store"),
            "--listen-client-urls", f"{url}:12379", "--advertise-client-urls", f"{url}:12379",
            "--listen-peer-urls", f"{url}:12380", "--initial-advertise-peer-urls", f"{url}:12380",
            "--initial-cluster", f"s={url}:12380",
            "--listen-metrics-urls", f"https://{NODE_IP}:{STORE}",
        )  # fmt: skip
        monitor = self.store["monitoring"]
        wait_until("the store serves", lambda: self.ask(STORE, "/health", monitor)[0] == 200, 60)

    def _python(self, name: str, module: str, *flags: str) -> None:
        self.node.start(
            name, *self.node.lab.inside(), "env", f"--chdir={REPO}", sys.executable, "-m", module,
            *flags,
        )  # fmt: skip

    def healthy(self, port: int) -> bool:
        return self.ask(port, "/livez", self.people["anybody"])[0] == 200

    def ask(self, port: int, path: str, files: TlsFiles, method: str = "GET") -> tuple[int, str]:
        """The status and body; 0 when there is no connection to be had."""
        return self.inside(lambda: _ask(port, path, files, method))

    def inside(self, work: Callable[[], T]) -> T:
        """Run in the namespace, in a thread of its own."""
        future: Future[T] = Future()

        def body() -> None:
            try:
                with Path(f"/run/netns/{self.node.lab.name}").open() as handle:
                    assert _libc.setns(handle.fileno(), CLONE_NEWNET) == 0
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        return future.result()

    def fresh(self, name: str, user: str, *groups: str) -> TlsFiles:
        return self.node.identities.files(name, user, *groups)


def _ask(port: int, path: str, files: TlsFiles, method: str) -> tuple[int, str]:
    connection = HTTPSConnection(NODE_IP, port, timeout=60, context=client_context(files))
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


def _flags(files: TlsFiles) -> tuple[str, ...]:
    return ("--tls-cert-file", str(files.cert), "--tls-private-key-file", str(files.key),
            "--client-ca-file", str(files.ca))  # fmt: skip


@contextmanager
def world(images: Path) -> Iterator[World]:
    """`images` is a folder of archives to load; nothing runs here, so an empty one will do."""
    with machine(images, "crun") as node:
        made = World(node)
        made.start()
        yield made
