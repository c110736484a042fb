"""A component's certificate has run out: the same names, key and signer, and a day too old."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import yaml
from msgspec import Meta

from drills.faults.base import Fault, HitPod, Needs, Scene
from drills.faults.components import unit
from drills.undo import AnyStep, RunOn
from provision.pki.authority import KeyPair, reissue

_PKI, _KUBERNETES = "/etc/kubernetes/pki", "/etc/kubernetes"
# The certificate by which each is known: what it serves with, or what it calls the API with, inside
# a kubeconfig. With it the authority that signs it.
CERTIFICATES = {
    "apiserver": (f"{_PKI}/apiserver.crt", "ca"),
    "kvstore": (f"{_PKI}/etcd/server.crt", "etcd/ca"),
    "controller-manager": (f"{_KUBERNETES}/controller-manager.conf", "ca"),
    "scheduler": (f"{_KUBERNETES}/scheduler.conf", "ca"),
    "kubelet": (f"{_KUBERNETES}/kubelet.conf", "ca"),
    "proxy": (f"{_KUBERNETES}/kube-proxy.conf", "ca"),
    "network": (f"{_KUBERNETES}/network.conf", "ca"),
}
LIFE = timedelta(days=365)
# The owner and the mode of the file stay. A component reads its certificate when it starts.
REPLACE = (
    '[ -e "$2" ] || cp -p "$1" "$2" && printf %s "$3" | base64 -d > "$1" && '
    'systemctl restart --no-block "$4"'
)
PUT_BACK = '[ ! -e "$2" ] || { mv -f "$2" "$1"; systemctl restart --no-block "$3"; }'


class ExpireCertificate(Fault, frozen=True, kw_only=True, tag="expire-certificate"):
    """A process starts with a certificate that ran out yesterday, as after a year without care."""

    title: ClassVar[str] = "expired certificate"
    needs: ClassVar[Needs] = Needs(tools=("systemctl", "base64"))

    component: Annotated[
        Literal["apiserver", "kvstore", "controller-manager", "scheduler", "kubelet", "proxy",
                "network"],
        Meta(description="Whose: what it serves with, or what it calls the API with."),
    ]  # fmt: skip

    def words(self, scene: Scene) -> str:
        return f"{self.title} of {self.component} on {', '.join(scene.victims)}"

    def components(self) -> tuple[str, ...]:
        return (self.component,)

    def hits(self, on_victims: Sequence[HitPod]) -> tuple[HitPod, ...]:
        # A node whose kubelet is not let in counts as dead, and its pods with it.
        return tuple(on_victims) if self.component == "kubelet" else ()

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        path, _ = CERTIFICATES[self.component]
        again = ("sh", "-c", PUT_BACK, "sh", path, _kept(scene, path), unit(self.component))
        return tuple(RunOn(n, again, f"valid certificate of {self.component}")
                     for n in scene.victims)  # fmt: skip

    async def inject(self, scene: Scene) -> None:
        path, authority = CERTIFICATES[self.component]
        signer = KeyPair(
            (scene.lab.pki / f"{authority}.crt").read_bytes(),
            (scene.lab.pki / f"{authority}.key").read_bytes(),
        )
        for name in scene.victims:
            old = await scene.lab.run_on(name, ["cat", path])
            text = base64.b64encode(expired(old.encode(), signer, datetime.now(UTC))).decode()
            await scene.lab.run_on(
                name,
                ["sh", "-c", REPLACE, "sh", path, _kept(scene, path), text, unit(self.component)],
            )


def _kept(scene: Scene, path: str) -> str:
    return f"{path}.muster-drill-{scene.key}"


def expired(file: bytes, signer: KeyPair, now: datetime) -> bytes:
    """A certificate (PEM), or a kubeconfig that holds one, as it would be a day after its end."""
    yesterday = now - timedelta(days=1)
    if file.startswith(b"-----BEGIN"):
        return reissue(signer, file, yesterday - LIFE, yesterday)
    document: dict[str, Any] = yaml.safe_load(file)
    for entry in document["users"]:
        cert = base64.b64decode(entry["user"]["client-certificate-data"])
        old = reissue(signer, cert, yesterday - LIFE, yesterday)
        entry["user"]["client-certificate-data"] = base64.b64encode(old).decode()
    return yaml.safe_dump(document, sort_keys=False).encode()
