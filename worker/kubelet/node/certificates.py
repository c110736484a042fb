"""When a certificate expires, read from its DER. Pure.

The kubelet needs this one date of its own certificates (two gauges), which is not worth the
memory of a cryptography library on every machine.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

_VERSION, _UTC_TIME = 0xA0, 0x17
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def not_after(pem: str) -> datetime:
    """The end of validity of the first certificate in the text. Raises ValueError."""
    begin, end = pem.find(_BEGIN), pem.find(_END)
    if begin < 0 or end < 0:
        raise ValueError("no certificate in PEM form")
    der = base64.b64decode(pem[begin + len(_BEGIN) : end])
    certificate = _value(der, 0)
    signed = _value(der, certificate.start)
    at = signed.start
    # RFC 5280 4.1: [0] version, serial, signature algorithm, issuer, validity.
    if der[at] == _VERSION:
        at = _value(der, at).stop
    for _ in range(3):
        at = _value(der, at).stop
    validity = _value(der, at)
    second = _value(der, validity.start).stop
    return _time(der[second], der[_value(der, second).start : _value(der, second).stop])


def _value(der: bytes, at: int) -> slice:
    """Where the content of the element at `at` begins and ends (X.690 8.1)."""
    length, at = der[at + 1], at + 2
    if length & 0x80:
        width = length & 0x7F
        length, at = int.from_bytes(der[at : at + width], "big"), at + width
    return slice(at, at + length)


def _time(tag: int, text: bytes) -> datetime:
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode(), form).replace(tzinfo=UTC)
