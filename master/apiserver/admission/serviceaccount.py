"""What the ServiceAccount plug-in says of mirror pods, whoever makes them. Pure.

A mirror pod shows what a kubelet runs from a file; nothing of the API can have been in it.
"""

from __future__ import annotations

from kube.api.core import Pod
from kube.machinery.errors import StatusError
from master.apiserver.admission.attributes import Attributes, Lookup, forbidden
from master.apiserver.authz.node import MIRROR_ANNOTATION
from master.apiserver.authz.references import refers_to


def admit(asked: Attributes, _: Lookup) -> StatusError | None:
    pod = asked.new
    if asked.operation != "CREATE" or asked.subresource or not isinstance(pod, Pod):
        return None
    if MIRROR_ANNOTATION not in pod.metadata.annotations:
        return None
    if pod.spec.service_account_name or pod.spec.service_account:
        return forbidden(asked, "a mirror pod may not reference service accounts")
    if refers_to(pod, "secrets"):
        return forbidden(asked, "a mirror pod may not reference secrets")
    sources = [s for v in pod.spec.volumes if v.projected for s in v.projected.sources]
    if any(source.service_account_token for source in sources):
        return forbidden(asked, "a mirror pod may not use ServiceAccountToken volume projections")
    return None
