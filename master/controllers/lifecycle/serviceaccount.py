"""The serviceaccount controller: every active namespace has a `default` ServiceAccount."""

from __future__ import annotations

from kube.api.core import Namespace, ServiceAccount
from kube.api.meta import ObjectMeta
from kube.machinery.errors import AlreadyExists
from master.controllers.machinery.controller import Context, Controller
from master.controllers.machinery.watching import exists, gone

DEFAULT = "default"


class ServiceAccountController(Controller):
    name = "serviceaccount"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.namespaces = self.watch(Namespace, when=exists)
        self.accounts = self.watch(ServiceAccount, _default, when=gone)

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


def _default(account: ServiceAccount) -> tuple[str, ...]:
    meta = account.metadata
    return (meta.namespace,) if meta.name == DEFAULT else ()
