"""Keys of signed tokens: PEM files and the algorithms of RFC 7518, section 3, by `cryptography`.

etcd takes RS*, PS*, ES* and HS* (auth/options.go). Imported only where the flags ask for signed
tokens, since `cryptography` is large. What is wrong with a key is a ValueError in etcd's words.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from master.kvstore.auth.jwt import SigningKey

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
METHODS = frozenset(family + size for family in ("RS", "PS", "ES", "HS") for size in _HASHES)
_CURVE_BITS = {"ES256": 256, "ES384": 384, "ES512": 521}
_NO_PEM = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key"
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)  # TypeError: it wants a password


def signing_key(method: str, public: bytes, private: bytes) -> SigningKey:
    """The key of `method` from the files' contents; empty: there is none."""
    if method not in METHODS:
        raise ValueError("auth: invalid auth options: auth: invalid auth signature method")
    family, size = method[:2], method[2:]
    if not private and (family == "HS" or not public):
        raise ValueError("auth: missing key data")
    if family == "HS":
        return _secret(method, private, f"sha{size}")
    if family == "ES":
        return _elliptic(method, public, private, ec.ECDSA(_HASHES[size]))
    return _rsa(method, public, private, _HASHES[size])


def _secret(method: str, secret: bytes, digest: str) -> SigningKey:
    def sign(data: bytes) -> bytes:
        return hmac.digest(secret, data, digest)

    return SigningKey(method, lambda mac, data: hmac.compare_digest(mac, sign(data)), sign)


def _rsa(method: str, public: bytes, private: bytes, digest: hashes.HashAlgorithm) -> SigningKey:
    own, key = _pair(public, private)
    if not isinstance(key, rsa.RSAPublicKey) or not isinstance(own, rsa.RSAPrivateKey | None):
        raise ValueError(f"key is not a valid RSA {'private' if own else 'public'} key")
    signs: padding.AsymmetricPadding = padding.PKCS1v15()
    verifies = signs
    if method.startswith("PS"):
        mask = padding.MGF1(digest)
        signs = padding.PSS(mask, padding.PSS.DIGEST_LENGTH)
        verifies = padding.PSS(mask, padding.PSS.AUTO)  # other libraries salt as they like
    verify = _verifying(lambda signature, data: key.verify(signature, data, verifies, digest))
    sign = None if own is None else lambda data: own.sign(data, signs, digest)
    return SigningKey(method, verify, sign)


def _elliptic(method: str, public: bytes, private: bytes, algorithm: ec.ECDSA) -> SigningKey:
    """A signature is two numbers, one behind the other, each as long as the curve wants."""
    own, key = _pair(public, private)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        own, ec.EllipticCurvePrivateKey | None
    ):
        raise ValueError(f"key is not a valid ECDSA {'private' if own else 'public'} key")
    if key.curve.key_size != _CURVE_BITS[method]:
        raise ValueError("key is invalid")
    size = (key.curve.key_size + 7) // 8

    def verify(signature: bytes, data: bytes) -> None:
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = (int.from_bytes(half) for half in (signature[:size], signature[size:]))
        key.verify(encode_dss_signature(r, s), data, algorithm)

    def sign(data: bytes) -> bytes:
        assert own is not None
        r, s = decode_dss_signature(own.sign(data, algorithm))
        return r.to_bytes(size) + s.to_bytes(size)

    return SigningKey(method, _verifying(verify), sign if own else None)


def _verifying(check: Callable[[bytes, bytes], None]) -> Callable[[bytes, bytes], bool]:
    def verify(signature: bytes, data: bytes) -> bool:
        try:
            check(signature, data)
        except InvalidSignature:
            return False
        return True

    return verify


def _pair(public: bytes, private: bytes) -> tuple[PrivateKeyTypes | None, PublicKeyTypes]:
    """What to sign with, and what to verify with. One of both files is given at least."""
    if not private:
        return None, _public(public)
    try:
        own = serialization.load_pem_private_key(private, None)
    except _UNREADABLE:
        raise ValueError(_NO_PEM) from None
    if public and _public(public) != own.public_key():
        raise ValueError("auth: public and private keys don't match")
    return own, own.public_key()


def _public(pem: bytes) -> PublicKeyTypes:
    """From a public key or a certificate."""
    try:
        if b"BEGIN CERTIFICATE" in pem:
            return x509.load_pem_x509_certificate(pem).public_key()
        return serialization.load_pem_public_key(pem)
    except _UNREADABLE:
        raise ValueError(_NO_PEM) from None
