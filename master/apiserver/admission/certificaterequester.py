"""CertificateRequester: a CertificateSigningRequest says who made it, whoever it names. Pure.

Upstream's strategy does this; here strategies do not know who asks.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from kube.api.certificates import CertificateSigningRequest
from master.apiserver.admission.attributes import Attributes, Plugin, World


async def admit(asked: Attributes, _: World) -> msgspec.Struct | None:
    request = asked.new
    if not asked.creates(CertificateSigningRequest):
        return request
    assert isinstance(request, CertificateSigningRequest)
    user = asked.user
    spec = replace(
        request.spec,
        username=user.name,
        uid=user.uid,
        groups=tuple(sorted(user.groups)),
        extra={key: tuple(values) for key, values in user.extra},
    )
    return replace(request, spec=spec)


PLUGIN = Plugin(name="CertificateRequester", admit=admit)
