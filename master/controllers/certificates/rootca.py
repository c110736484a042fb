"""The root-ca-certificate-publisher: pods find the cluster's CA in `kube-root-ca.crt`."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from kube.api.core import ConfigMap, Namespace
from kube.api.meta import ObjectMeta
from kube.machinery.errors import AlreadyExists
from master.controllers.machinery.controller import Context, Controller, Maker
from master.controllers.machinery.watching import exists

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
        self.namespaces = self.watch(Namespace, when=exists)
        self.configmaps = self.watch(ConfigMap, _published)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--root-ca-file", type=Path, help="the CA to publish; without: none")

    @classmethod
    def from_flags(cls, args: argparse.Namespace) -> Maker | None:
        file = args.root_ca_file
        if file is None:
            return None
        if not file.is_file():
            raise ValueError(f'--root-ca-file: "{file}" is no file')
        return lambda context: cls(context, file.read_text())

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


def _published(configmap: ConfigMap) -> tuple[str, ...]:
    meta = configmap.metadata
    return (meta.namespace,) if meta.name == NAME else ()
