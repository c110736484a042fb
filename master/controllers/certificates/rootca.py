"""The root-ca-certificate-publisher: pods find the cluster's CA in `kube-root-ca.crt`."""

from __future__ import annotations

import msgspec

from kube.api.core import ConfigMap, Namespace
from kube.api.meta import ObjectMeta
from kube.machinery.errors import AlreadyExists
from master.controllers.machinery.controller import Context, Controller

NAME = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters."
)


class RootCaPublisher(Controller):
    name = "root_ca_cert_publisher"
    workers = 1

    def __init__(self, context: Context, root_ca: str) -> None:
        super().__init__(context)
        self._root_ca = root_ca
        self.namespaces = self.informers.of(Namespace)
        self.configmaps = self.informers.of(ConfigMap)
        self.namespaces.add_handler(self._on_namespace)
        self.configmaps.add_handler(self._on_configmap)

    def _on_namespace(self, kind: str, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self.queue.add(new.metadata.name)

    def _on_configmap(self, kind: str, old: ConfigMap | None, new: ConfigMap | None) -> None:
        changed = new or old
        if changed is not None and changed.metadata.name == NAME:
            self.queue.add(changed.metadata.namespace)

    async def reconcile(self, key: str) -> None:
        namespace = self.namespaces.get(key)
        if namespace is None or namespace.metadata.deletion_timestamp:
            return
        current = self.configmaps.get(f"{key}/{NAME}")
        wanted = {"ca.crt": self._root_ca}
        if current is None:
            meta = ObjectMeta(
                name=NAME, namespace=key,
                annotations={"kubernetes.io/description": DESCRIPTION},
            )  # fmt: skip
            try:
                await self.client.create(ConfigMap(metadata=meta, data=wanted))
            except AlreadyExists:
                return
        elif current.data != wanted:
            await self.client.update(msgspec.structs.replace(current, data=wanted))
