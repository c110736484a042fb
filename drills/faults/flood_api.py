"""Clients that ask the api-server for lists, as fast as they are answered."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults import hogs
from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep

# Every kubelet may list Services and Nodes. By the kubelet's own kubeconfig, a connection a client;
# one that is refused or cut off tries again.
ASK = """
import base64, http.client, re, ssl, sys, tempfile, threading, time, urllib.parse

config = dict(re.findall(r"^[ -]*([a-z-]+): (\\S+)$", open(sys.argv[1]).read(), re.M))

def file(name):
    made = tempfile.NamedTemporaryFile(delete=False)
    made.write(base64.b64decode(config[name + "-data"]))
    made.close()
    return made.name

tls = ssl.create_default_context(cafile=file("certificate-authority"))
tls.load_cert_chain(file("client-certificate"), file("client-key"))
server = urllib.parse.urlsplit(config["server"])

def ask():
    while True:
        try:
            to = http.client.HTTPSConnection(server.hostname, server.port, timeout=10, context=tls)
            while True:
                to.request("GET", "/api/v1/services")
                to.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)

for _ in range(int(sys.argv[2])):
    threading.Thread(target=ask, daemon=True).start()
time.sleep(86400)
"""
KUBECONFIG = "/etc/kubernetes/kubelet.conf"


class FloodApi(Fault, frozen=True, kw_only=True, tag="flood-api"):
    """Clients with the victim's own certificate ask for lists, as fast as they are answered."""

    title: ClassVar[str] = "API flood"
    needs: ClassVar[Needs] = Needs(tools=("systemd-run", "python3", KUBECONFIG))

    clients: Annotated[int, Meta(ge=1, le=1000, description="How many at once.")] = 20

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return hogs.stop(scene, "API flood")

    async def inject(self, scene: Scene) -> None:
        command = ["python3", "-S", "-c", ASK, KUBECONFIG, str(self.clients)]
        await hogs.start(scene, command, "PrivateTmp=yes")
