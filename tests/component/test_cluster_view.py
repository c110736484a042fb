"""What the provisioner reads of a lab's API: over TLS, by a name that all api-servers have."""

from __future__ import annotations

import json
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from provision.cluster import ApiUnavailable, Cluster
from tests.component.pki_fixture import Pki

NODE = {
    "metadata": {"name": "m1"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


class _Api(BaseHTTPRequestHandler):
    patched: ClassVar[list[tuple[str, str, bytes]]] = []

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.patched.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self) -> None:
        found = self.path == "/api/v1/nodes"
        body = json.dumps({"items": [NODE]} if found else {}).encode()
        self.send_response(200 if found else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def api(pki: Pki, names: tuple[str, ...]) -> Iterator[int]:
    """An api-server's port, with a certificate for `names` and no address."""
    files = pki.issue(f"api-{'-'.join(names)}", addresses=(), names=names)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.cert, files.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, name="api")
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def admin(pki: Pki, tmp_path: Path) -> Path:
    """A lab's folder of certificates, with what `Cluster` needs."""
    files = pki.issue("admin")
    for source, name in ((files.ca, "ca.crt"), (files.cert, "admin.crt"), (files.key, "admin.key")):
        shutil.copy(source, tmp_path / name)
    return tmp_path


def test_an_api_is_known_by_its_name_wherever_it_is_reached(pki: Pki, admin: Path) -> None:
    with api(pki, ("kubernetes", "m1")) as port:
        nodes = Cluster("127.0.0.1", admin, port).nodes()
    assert nodes["m1"].ready


def test_a_master_gets_its_role_label(pki: Pki, admin: Path) -> None:
    with api(pki, ("kubernetes",)) as port:
        cluster = Cluster("127.0.0.1", admin, port)
        assert not cluster.nodes()["m1"].is_control_plane
        cluster.mark_control_plane("m1")
    label = b'{"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}'
    assert _Api.patched == [("/api/v1/nodes/m1", "application/merge-patch+json", label)]


def test_another_certificate_of_the_same_authority_is_refused(pki: Pki, admin: Path) -> None:
    with (
        api(pki, ("w1", "localhost")) as port,
        pytest.raises(ApiUnavailable, match="certificate verify failed"),
    ):
        Cluster("127.0.0.1", admin, port).nodes()


def test_a_refusal_is_told_with_its_code(pki: Pki, admin: Path) -> None:
    with api(pki, ("kubernetes",)) as port, pytest.raises(ApiUnavailable, match="HTTP 403"):
        Cluster("127.0.0.1", admin, port).renewals()
