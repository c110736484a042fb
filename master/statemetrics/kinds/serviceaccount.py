"""ServiceAccounts. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import ServiceAccount
from master.statemetrics.family import Family, Sample, StateKind
from master.statemetrics.metadata import created, deleted, identity


def _info(account: ServiceAccount) -> Iterable[Sample]:
    token = account.automount_service_account_token
    return (({} if token is None else {"automount_token": str(token).lower()}, 1),)


KIND = StateKind(
    "serviceaccounts",
    ServiceAccount,
    identity("serviceaccount", uid=True),
    (
        Family("kube_serviceaccount_info", "A service account.", _info),
        created("kube_serviceaccount"),
        deleted("kube_serviceaccount", "deleted"),
        Family(
            "kube_serviceaccount_secret",
            "The Secrets that it names.",
            lambda account: [({"name": secret.name}, 1) for secret in account.secrets],
        ),
        Family(
            "kube_serviceaccount_image_pull_secret",
            "The Secrets that it names for pulling images.",
            lambda account: [({"name": s.name}, 1) for s in account.image_pull_secrets],
        ),
    ),
    default=False,
)
