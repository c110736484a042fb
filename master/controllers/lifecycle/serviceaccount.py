"""The serviceaccount controller: every active namespace has a `default` ServiceAccount."""

from __future__ import annotations

from kube.api.core import Namespace, ServiceAccount
from kube.api.meta import ObjectMeta
from kube.machinery.errors import AlreadyExists
from master.controllers.machinery.controller import Context, Controller

DEFAULT = "default"


class ServiceAccountController(Controller):
    name = "serviceaccount"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.namespaces = self.informers.of(Namespace)
        self.accounts = self.informers.of(ServiceAccount)
        self.namespaces.add_handler(self._on_namespace)
        self.accounts.add_handler(self._on_account)

    def _on_namespace(self, kind: str, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self.queue.add(new.metadata.name)

    def _on_account(
        self, kind: str, old: ServiceAccount | None, new: ServiceAccount | None
    ) -> None:
        if new is None and old is not None and old.metadata.name == DEFAULT:
            self.queue.add(old.metadata.namespace)

    async def reconcile(self, key: str) -> None:
        if not needed(self.namespaces.get(key), self.accounts.get(f"{key}/{DEFAULT}")):
            return
        try:
            meta = ObjectMeta(name=DEFAULT, namespace=key)
            await self.client.create(ServiceAccount(metadata=meta))
        except AlreadyExists:
            return


def needed(namespace: Namespace | None, account: ServiceAccount | None) -> bool:
    """Whether the account must be made: not in a namespace that is going."""
    if namespace is None or namespace.metadata.deletion_timestamp or account is not None:
        return False
    return namespace.status.phase != "Terminating"
