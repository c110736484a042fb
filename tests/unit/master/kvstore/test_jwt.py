"""Signed tokens: who is believed, until when, and what a key must be.

`tests/differential/test_differential_jwt.py` gives the same tokens to stock etcd.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from hypothesis import given
from hypothesis import strategies as st

from master.kvstore.auth.jwt import JwtTokens, SigningKey
from master.kvstore.auth.jwtkeys import METHODS, signing_key
from master.kvstore.auth.store import AuthStore, Caller
from master.kvstore.auth.tokens import LIFE_SECONDS
from master.kvstore.config import Config
from master.kvstore.errors import AuthOldRevision, UserEmpty, VerifyOnly

_RSA = rsa.generate_private_key(65537, 2048)
_CURVES: dict[str, ec.EllipticCurve] = {
    "256": ec.SECP256R1(),
    "384": ec.SECP384R1(),
    "512": ec.SECP521R1(),
}


def private_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def keys_of(method: str) -> tuple[bytes, bytes]:
    """Public and private file."""
    if method.startswith("HS"):
        return b"", b"secret"
    key = ec.generate_private_key(_CURVES[method[2:]]) if method.startswith("ES") else _RSA
    return public_pem(key), private_pem(key)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def hs256(clock: Clock) -> JwtTokens:
    return JwtTokens(signing_key("HS256", b"", b"secret"), clock, 60)


def changed(token: str, **header: object) -> str:
    """The same with another header, under the same signature."""
    _, rest = token.split(".", 1)
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode() + "." + rest


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_token_is_judged_by_whoever_has_the_public_key(method: str) -> None:
    public, private = keys_of(method)
    clock = Clock()
    token = JwtTokens(signing_key(method, public, private), clock, 60).new("ann", 7)
    judge = JwtTokens(signing_key(method, public, private if method[0] == "H" else b""), clock, 60)
    assert judge.caller_of(token, 9) == Caller("ann", 7), "by the rules it was made for"
    head, body, signature = token.split(".")
    for broken in (
        f"{head}.{body}.{signature[:-4]}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[4:]}{signature[:4]}",
        f"{body}.{head}.{signature}",
    ):
        assert judge.caller_of(broken, 9) is None
    stranger = JwtTokens(signing_key("HS256", b"", public or b"other"), clock, 60)
    assert judge.caller_of(stranger.new("ann", 7), 9) is None, "the public key as a secret"
    if method[0] != "H":
        with pytest.raises(VerifyOnly):
            judge.new("ann", 7)


def test_the_flags_choose_the_algorithm_and_not_the_token() -> None:
    """Even if the signature fits."""
    clock = Clock()
    tokens = hs256(clock)
    believing = JwtTokens(SigningKey("HS256", lambda _, __: True), clock, 60)
    token = tokens.new("ann", 7)
    assert believing.caller_of(token, 7) is not None
    for alg in ("none", "None", "hs256", "HS512", "RS256", "", 1, None):
        assert believing.caller_of(changed(token, alg=alg), 7) is None, alg
    assert believing.caller_of(changed(token), 7) is None
    other = JwtTokens(replace(signing_key("HS256", b"", b"secret"), method="HS512"), clock, 60)
    assert other.caller_of(token, 7) is None


def test_a_token_ends_at_its_time_though_it_was_known_before() -> None:
    clock = Clock()
    tokens = hs256(clock)
    token = tokens.new("ann", 7)
    clock.now += 59
    assert tokens.caller_of(token, 7) is not None
    clock.now += 1
    assert tokens.caller_of(token, 7) is None


@given(st.text(max_size=60) | st.lists(st.binary(max_size=20), max_size=4).map(
    lambda parts: ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts)
))  # fmt: skip
def test_noise_is_nobody(token: str) -> None:
    believing = JwtTokens(SigningKey("HS256", lambda _, __: True), Clock(), 60)
    assert believing.caller_of(token, 7) is None


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["username", "revision", "exp", "iat", "nbf", "x"]), inner),
    max_leaves=6))  # fmt: skip
def test_odd_claims_are_nobody_or_who_they_say(claims: object) -> None:
    head, body = ({"alg": "HS256"}, claims)
    token = ".".join(
        base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=")
        for one in (head, body)
    )
    believing = JwtTokens(SigningKey("HS256", lambda _, __: True), Clock(), 60)
    caller = believing.caller_of(token + ".x", 7)
    if caller is not None:
        assert isinstance(claims, dict)
        assert caller == Caller(claims["username"], claims["revision"])


def test_a_deeply_nested_token_is_nobody() -> None:
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 100_000).decode().rstrip("=")
    assert hs256(Clock()).caller_of(f"{deep}.e30.e30", 7) is None


def test_what_an_old_token_may_not() -> None:
    auth = AuthStore()
    auth.enabled, auth.revision = True, 5
    with pytest.raises(AuthOldRevision):
        auth.check_range(Caller("ann", 4), b"k", b"")
    with pytest.raises(UserEmpty):
        auth.check_range(Caller("ann", 0), b"k", b"")
    for revision in (4, 6):
        with pytest.raises(AuthOldRevision):
            auth.check_current(Caller("ann", revision))
    auth.check_current(Caller("ann", 5))
    auth.enabled = False
    auth.check_current(Caller())


# --- the flags


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "rsa.key").write_bytes(private_pem(_RSA))
    (tmp_path / "rsa.pub").write_bytes(public_pem(_RSA))
    (tmp_path / "other.pub").write_bytes(public_pem(rsa.generate_private_key(65537, 2048)))
    (tmp_path / "ec.key").write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
    return tmp_path


def test_flags_of_tokens(files: Path) -> None:
    assert Config.from_argv([]).token_key is None
    assert Config.from_argv([]).token_seconds == LIFE_SECONDS
    assert Config.from_argv(["--auth-token-ttl", "7"]).token_seconds == 7
    assert Config.from_argv(["--auth-token-ttl", "0"]).token_seconds == LIFE_SECONDS
    jwt = f"jwt,sign-method=PS384,priv-key={files}/rsa.key,more=x"
    config = Config.from_argv(["--auth-token", jwt, "--auth-token-ttl", "7"])
    assert config.token_key is not None
    assert config.token_key.method == "PS384"
    assert config.token_seconds == 300, "etcd's default; the other flag is for simple ones"
    assert Config.from_argv(["--auth-token", f"{jwt},ttl=1h"]).token_seconds == 3600


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("jwt,sign-method=RS256,priv-key={0}/rsa.key,pub-key={0}/other.pub", "don't match"),
        ("jwt,sign-method=ES384,priv-key={0}/ec.key", "key is invalid"),
        ("jwt,sign-method=none", "invalid auth signature method"),
        ("", "unknown token type"),
    ],
)
def test_what_etcd_takes_and_we_do_not(
    options: str, words: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        Config.from_argv(["--auth-token", options.format(files)])
    assert words in capsys.readouterr().err


def test_negative_life(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Config.from_argv(["--auth-token-ttl", "-1"])
    assert "must not be negative" in capsys.readouterr().err


def test_who_wants_no_signed_tokens_does_not_wait_for_their_code() -> None:
    code = """
import sys
import master.kvstore.main
large = ("cryptography", "master.kvstore.auth.jwt")
assert not any(name.startswith(large) for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
