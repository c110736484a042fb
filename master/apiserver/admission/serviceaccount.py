"""ServiceAccount: a pod runs as some account, its namespace's `default` if it names none. Pure.

A mirror pod has none: it shows what a kubelet runs from a file, and nothing of the API can have
been in that.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from kube.api.core import Pod
from master.apiserver.admission.attributes import Attributes, Plugin, World, forbidden
from master.apiserver.authz.node import MIRROR_ANNOTATION
from master.apiserver.authz.references import refers_to


async def admit(asked: Attributes, _: World) -> msgspec.Struct | None:
    pod = asked.new
    if not asked.creates(Pod) or not isinstance(pod, Pod):
        return pod
    if MIRROR_ANNOTATION in pod.metadata.annotations:
        _check_mirror(asked, pod)
        return pod
    account = pod.spec.service_account_name or pod.spec.service_account or "default"
    return replace(pod, spec=replace(pod.spec, service_account_name=account))


def _check_mirror(asked: Attributes, pod: Pod) -> None:
    if pod.spec.service_account_name or pod.spec.service_account:
        raise forbidden(asked, "a mirror pod may not reference service accounts")
    if refers_to(pod, "secrets"):
        raise forbidden(asked, "a mirror pod may not reference secrets")
    sources = [s for v in pod.spec.volumes if v.projected for s in v.projected.sources]
    if any(source.service_account_token for source in sources):
        raise forbidden(asked, "a mirror pod may not use ServiceAccountToken volume projections")


PLUGIN = Plugin(name="ServiceAccount", admit=admit)
