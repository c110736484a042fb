"""Signed tokens (`--auth-token=jwt`), with the same keys on stock etcd and on ours: who is let in,
who is not, and in which words."""

from __future__ import annotations

import base64
import hmac
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from google.protobuf.message import Message

from kube.stubs.etcd import auth_pb2, rpc_pb2, rpc_pb2_grpc
from master.kvstore.auth.jwt import JwtTokens
from master.kvstore.auth.options import signed_tokens
from master.kvstore.config import Config
from tests.component.kvstore_harness import StoreCluster, free_ports, store_cluster, wait_until
from tests.component.pki_fixture import Pki
from tests.differential.pair import Pair, Tally, difference, lead_by_first
from tests.differential.stubs import SECONDS, Stubs, WatchStream, answer, channel, shown

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")
_ROOT = "root:pw"
_PUT = rpc_pb2.PutRequest(key=b"a", value=b"1")
_GET = rpc_pb2.RangeRequest(key=b"a")


def write_key(directory: Path, name: str, key: Any) -> Path:
    """NAME.key and NAME.pub; the former's path."""
    private = directory / f"{name}.key"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    private.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private


@dataclass
class Keys:
    directory: Path
    rsa: rsa.RSAPrivateKey

    @property
    def public(self) -> Path:
        return self.directory / "rsa.pub"

    @property
    def options(self) -> str:
        private = self.directory / "rsa.key"
        return f"jwt,sign-method=RS256,pub-key={self.public},priv-key={private},ttl=10m"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    directory = tmp_path_factory.mktemp("keys")
    key = rsa.generate_private_key(65537, 2048)
    write_key(directory, "rsa", key)
    curves: tuple[ec.EllipticCurve, ...] = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
    for size, curve in zip((256, 384, 512), curves, strict=True):
        write_key(directory, f"ec{size}", ec.generate_private_key(curve))
    (directory / "secret").write_bytes(b"not so secret\n")
    (directory / "junk").write_bytes(b"junk")
    return Keys(directory, key)


@dataclass
class Asked:
    """One cluster, through a channel to each member."""

    cluster: StoreCluster
    members: list[Stubs]

    def token(self, user: str = "root", member: int = 0) -> str:
        request = rpc_pb2.AuthenticateRequest(name=user, password="pw")
        return str(self.members[member].auth.Authenticate(request, timeout=SECONDS).token)

    def ask(self, token: str, *requests: Message, member: int = 0) -> list[str]:
        stubs = self.members[member]
        found = []
        for request in requests:
            name = type(request).__name__.removesuffix("Request")
            names = (name, name.removeprefix("Auth"))
            call = next(
                getattr(stub, one)
                for stub in (stubs.kv, stubs.auth)
                for one in names
                if hasattr(stub, one)
            )
            found.append(answer(partial(call, metadata=[("token", token)]), request))
        return found

    def watched(self, token: str) -> str:
        """What a new watch is told first."""
        stream = WatchStream(
            Stubs(**{**vars(self.members[0]), "watch": _With(self.members[0].watch, token)})
        )
        with stream:
            stream.create(key=b"a")
            return shown(stream.next())


@dataclass
class _With:
    """The watch stub, with a token."""

    stub: Any
    token: str

    def Watch(self, requests: Any, timeout: float) -> Any:
        return self.stub.Watch(requests, timeout=timeout, metadata=[("token", self.token)])


@dataclass
class Both:
    pair: Pair
    asked: tuple[Asked, Asked]

    def each(self, action: Callable[[Asked], Any]) -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(action, self.asked))

    def agree(self, action: Callable[[Asked], Any], what: str = "") -> str:
        """The shared outcome."""
        ours, theirs = map(str, self.each(action))
        assert ours == theirs, f"{what}\n{difference(ours, theirs)}"
        return ours


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, pki: Pki, tally: Tally, keys: Keys
) -> Iterator[Both]:
    """Users root and ann, who may read and write `a`; auth is on."""
    flags = ("--bcrypt-cost", "4", "--auth-token", keys.options)
    with ExitStack() as stack:
        clusters = [
            stack.enter_context(
                store_cluster(tmp_path_factory.mktemp(name), pki, 3, *flags, program=program)
            )
            for name, program in (("ours", ()), ("theirs", ("etcd",)))
        ]
        pair = Pair(clusters[0], clusters[1], tally)
        pair.each(lead_by_first)
        ours, theirs = (
            Asked(one, [Stubs.on(stack.enter_context(channel(one, m))) for m in one.members])
            for one in clusters
        )
        both = Both(pair, (ours, theirs))
        both.each(lambda asked: with_users(asked.members[0].auth))
        yield both


def with_users(auth: Any) -> None:
    for user, role in (("root", "root"), ("ann", "writer")):
        auth.UserAdd(rpc_pb2.AuthUserAddRequest(name=user, password="pw"), timeout=SECONDS)
        auth.RoleAdd(rpc_pb2.AuthRoleAddRequest(name=role), timeout=SECONDS)
        auth.UserGrantRole(rpc_pb2.AuthUserGrantRoleRequest(user=user, role=role), timeout=SECONDS)
    permission = auth_pb2.Permission(permType=auth_pb2.Permission.READWRITE, key=b"a")
    grant = rpc_pb2.AuthRoleGrantPermissionRequest(name="writer", perm=permission)
    auth.RoleGrantPermission(grant, timeout=SECONDS)
    auth.AuthEnable(rpc_pb2.AuthEnableRequest(), timeout=SECONDS)


def part(value: object) -> str:
    """JSON, or the very bytes, as a part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parts(token: str) -> list[Any]:
    """Header and claims."""
    return [json.loads(base64.urlsafe_b64decode(one + "==")) for one in token.split(".")[:2]]


def made(header: object, claims: object, sign: Callable[[bytes], bytes]) -> str:
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{part(sign(signed.encode()))}"


def test_etcdctl_logs_in(both: Both) -> None:
    both.pair.run_all(
        [
            f"--user={_ROOT} put k v", f"--user={_ROOT} get k", "--user=ann:pw put a 1",
            "--user=ann:pw get a", "--user=ann:pw get k", "--user=ann:pw user list",
            "--user=root:wrong get k", "get k", f"--user={_ROOT} user list",
            f"--user={_ROOT} endpoint status", f"--user={_ROOT} auth enable",
        ]
    )  # fmt: skip


def test_a_token_says_the_same_and_opens_every_member_of_both(both: Both) -> None:
    """The keys are the same, and so is the revision of the rules: each takes the other's, too."""
    tokens = [asked.token("ann", member=1) for asked in both.asked]
    ours, theirs = map(parts, tokens)
    lives = [claims.pop("exp") - time.time() for _, claims in (ours, theirs)]
    assert ours == theirs
    assert ours[1]["username"] == "ann"
    assert all(500 < life <= 601 for life in lives), lives
    for token in tokens:
        for member in range(3):
            told = both.agree(
                lambda asked, token=token, member=member: asked.ask(
                    token, _PUT, _GET, rpc_pb2.AuthUserListRequest(), member=member
                )
            )
            assert "permission denied" in told
            assert 'key: "a"' in told.replace("\\", "")


def hostile(keys: Keys, revision: int) -> dict[str, str]:
    """Tokens by what is odd about them. None lacks the user or the revision: etcd dies of that."""

    def rs256(data: bytes, key: rsa.RSAPrivateKey = keys.rsa) -> bytes:
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def hs256(data: bytes) -> bytes:
        return hmac.digest(keys.public.read_bytes(), data, "sha256")

    rs = {"alg": "RS256", "typ": "JWT"}
    now = int(time.time())
    claims = {"username": "ann", "revision": revision, "exp": now + 600}
    good = made(rs, claims, rs256)
    signed, _, signature = good.rpartition(".")
    head, body = signed.split(".")
    stranger = rsa.generate_private_key(65537, 2048)

    def sha512(data: bytes) -> bytes:
        return keys.rsa.sign(data, padding.PKCS1v15(), hashes.SHA512())

    def claimed(**changed: object) -> str:
        return made(rs, {**claims, **changed}, rs256)

    return {
        "good": good,
        "none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "None, with the signature": f"{part({'alg': 'None'})}.{body}.{signature}",
        "public key as a secret": made({"alg": "HS256", "typ": "JWT"}, claims, hs256),
        "called RS256, signed with HS256": made(rs, claims, hs256),
        "another algorithm of the same key": made({"alg": "RS512"}, claims, sha512),
        "no algorithm": made({"typ": "JWT"}, claims, rs256),
        "algorithm is a number": made({"alg": 1}, claims, rs256),
        "header is a list": made(["RS256"], claims, rs256),
        "header is not JSON": made(b"{", claims, rs256),
        "more in the header": made({**rs, "kid": "x", "crit": ["y"]}, claims, rs256),
        "a stranger's key": made(rs, claims, partial(rs256, key=stranger)),
        "other claims": f"{head}.{part({**claims, 'username': 'root'})}.{signature}",
        "signature cut": good[:-4],
        "signature's first bit": f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}",
        "no signature": f"{signed}.",
        "two parts": signed,
        "four parts": f"{good}.{signature}",
        "padded": f"{good}==",
        "not base64url": f"{signed}.+{signature[1:]}",
        "bearer": f"Bearer {good}",
        "empty parts": "..",
        "a simple token's form": "xxxxxxxxxxxxxxxx.7",
        "expired": claimed(exp=now - 1),
        "expired long ago": claimed(exp=1),
        "negative exp": claimed(exp=-5),
        "exp is a string": claimed(exp=str(now + 600)),
        "exp is null": claimed(exp=None),
        "exp is zero": claimed(exp=0),
        "exp is a fraction": claimed(exp=now + 600.5),
        "no exp": made(rs, {"username": "ann", "revision": revision}, rs256),
        "issued later": claimed(iat=now + 600),
        "issued before": claimed(iat=now - 600),
        "not yet": claimed(nbf=now + 600),
        "since": claimed(nbf=now - 600),
        "older rules": claimed(revision=revision - 1),
        "rules from the beginning": claimed(revision=0),
        "rules to come": claimed(revision=revision + 1000),
        "nobody known": claimed(username="eve"),
        "root by the right key": claimed(username="root"),
        "old root": claimed(username="root", revision=1),
        "more claims": claimed(admin=True, aud=["x"], username="ann"),
        "claims are a list": made(rs, ["ann"], rs256),
        "claims are not JSON": made(rs, b"ann", rs256),
    }


def test_odd_tokens(both: Both, keys: Keys) -> None:
    revision = parts(both.asked[0].token())[1]["revision"]
    read = rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp(request_range=_GET)])
    requests = (
        _PUT, _GET, read, rpc_pb2.RangeRequest(key=b"other"), rpc_pb2.AuthUserListRequest(),
        rpc_pb2.AuthUserGetRequest(name="ann"), rpc_pb2.AuthRoleGetRequest(role="writer"),
    )  # fmt: skip
    told = {}
    for what, token in hostile(keys, revision).items():
        told[what] = both.agree(
            lambda asked, token=token: [asked.ask(token, *requests), asked.watched(token)], what
        )
    let_in = {what for what, said in told.items() if "invalid auth token" not in said}
    assert let_in == {
        "good", "more in the header", "exp is zero", "exp is a fraction", "no exp",
        "issued before", "since", "older rules", "rules from the beginning", "rules to come",
        "nobody known", "root by the right key", "old root", "more claims",
    }  # fmt: skip
    assert told["older rules"].count("revision of auth store is old") == 5


def test_older_rules_whoever_changed_them(both: Both) -> None:
    """A token cannot be taken back, but it is of no use for keys any more."""

    def script(asked: Asked) -> list[Any]:
        ann, root = asked.token("ann"), asked.token("root")
        said = asked.ask(root, rpc_pb2.AuthUserAddRequest(name="bob", password="x"))
        said += asked.ask(ann, _PUT, _GET, rpc_pb2.AuthUserGetRequest(name="ann"))
        said += [asked.watched(ann)]
        said += asked.ask(root, _PUT, rpc_pb2.AuthUserListRequest())  # no keys: it may still
        said += asked.ask(asked.token("ann"), _PUT)
        said += asked.ask(root, rpc_pb2.AuthUserDeleteRequest(name="bob"))
        return said

    assert both.agree(script).count("revision of auth store is old") == 4


def test_who_has_the_public_key_only_judges_and_signs_nothing(both: Both, keys: Keys) -> None:
    """m3 starts again with it."""

    def script(asked: Asked) -> list[Any]:
        third = asked.cluster.members[2]
        third.stop()
        options = f"jwt,sign-method=RS256,pub-key={keys.public}"
        third.flags = ("--bcrypt-cost", "4", "--auth-token", options)
        third.start()
        login = rpc_pb2.AuthenticateRequest(name="ann", password="pw")
        wrong = rpc_pb2.AuthenticateRequest(name="ann", password="wrong")
        with channel(asked.cluster, third) as opened:
            again = Asked(asked.cluster, [Stubs.on(opened)])
            ann = asked.token("ann")
            wait_until(lambda: "UNAVAILABLE" not in again.ask(ann, _GET)[0], 60, "m3 again")
            return [
                again.ask(ann, _PUT, _GET),
                answer(again.members[0].auth.Authenticate, login),
                answer(again.members[0].auth.Authenticate, wrong),
                again.ask("none", login, wrong),
            ]

    assert "token signing attempted with verify-only key" in both.agree(script)


def test_with_auth_off_again(both: Both) -> None:
    def script(asked: Asked) -> list[Any]:
        ann, root = asked.token("ann"), asked.token("root")
        said = asked.ask(root, rpc_pb2.AuthDisableRequest())
        login = rpc_pb2.AuthenticateRequest(name="ann", password="pw")
        said += asked.ask(ann, rpc_pb2.PutRequest(key=b"other"), login)
        said += asked.ask(
            ann, rpc_pb2.AuthEnableRequest(), _PUT, rpc_pb2.AuthenticateRequest(name="x")
        )
        return said

    told = both.agree(script)
    assert "authentication is not enabled" in told


# --- without a cluster of ours


def single(stack: ExitStack, directory: Path, *flags: str) -> grpc.Channel:
    """A stock etcd of one member."""
    port, peer = free_ports(2)
    url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    process = subprocess.Popen(
        [
            "etcd", "--data-dir", str(directory / f"etcd-{port}"), "--listen-client-urls", url,
            "--advertise-client-urls", url, "--listen-peer-urls", peer_url,
            "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}",
            "--heartbeat-interval", "20", "--election-timeout", "200", "--bcrypt-cost", "4", *flags,
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(process.kill)
    opened: grpc.Channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
    grpc.channel_ready_future(opened).result(timeout=60)
    return opened


@pytest.mark.parametrize("family", ["RS", "PS", "ES", "HS"])
def test_every_algorithm(family: str, keys: Keys, tmp_path: Path) -> None:
    """etcd takes our tokens, and we take etcd's."""

    def check(size: str) -> None:
        name = {"RS": "rsa", "PS": "rsa", "ES": f"ec{size}", "HS": "secret"}[family]
        files = f"priv-key={keys.directory / name}"
        if family != "HS":
            files += f".key,pub-key={keys.directory / name}.pub"
        options = f"jwt,sign-method={family}{size},{files}"
        found = signed_tokens(options)
        assert found is not None
        tokens = JwtTokens(found[0], time.time, found[1])
        with ExitStack() as stack:
            opened = single(stack, tmp_path, "--auth-token", options)
            auth, kv = rpc_pb2_grpc.AuthStub(opened), rpc_pb2_grpc.KVStub(opened)
            with_users(auth)
            login = rpc_pb2.AuthenticateRequest(name="ann", password="pw")
            theirs = auth.Authenticate(login, timeout=SECONDS).token
            caller = tokens.caller_of(theirs, 0)
            assert caller is not None, theirs
            assert caller.user == "ann"
            ours = tokens.new("ann", caller.revision)
            assert parts(ours)[0] == parts(theirs)[0]
            kv.Put(_PUT, metadata=[("token", ours)], timeout=SECONDS)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(check, ("256", "384", "512")))


def test_wrong_options_end_both_in_the_same_words(
    keys: Keys, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """etcd logs the cause before the error that it ends with; ours says both in one line."""
    rsa_key, ec_key = keys.directory / "rsa.key", keys.directory / "ec256.key"
    secret, junk = keys.directory / "secret", keys.directory / "junk"
    invalid = "auth: invalid auth options"
    no_pem = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key"
    wrong = {
        "jwt": invalid,
        "foo": invalid,
        "simple,x": invalid,
        "jwt,sign-method=XX": invalid,
        f"jwt,sign-method=HS256,sign-method=HS256,priv-key={secret}": invalid,
        f"jwt,sign-method=HS256,priv-key={secret},ttl=x": invalid,
        f"jwt,sign-method=RS256,pub-key={keys.directory}/nothing": invalid,
        "jwt,sign-method=RS256": "auth: missing key data",
        "jwt,sign-method=ES256": "auth: missing key data",
        f"jwt,sign-method=HS256,pub-key={secret}": "auth: missing key data",
        f"jwt,sign-method=RS256,priv-key={junk}": no_pem,
        f"jwt,sign-method=PS256,pub-key={junk}": no_pem,
        f"jwt,sign-method=RS256,priv-key={ec_key}": "key is not a valid RSA private key",
        f"jwt,sign-method=ES256,priv-key={rsa_key}": "key is not a valid ECDSA private key",
        f"jwt,sign-method=ES256,pub-key={keys.public}": "key is not a valid ECDSA public key",
    }
    for options, words in wrong.items():
        with pytest.raises(SystemExit):
            Config.from_argv(["--auth-token", options])
        assert words in capsys.readouterr().err, options
        theirs = subprocess.run(
            ["etcd", "--data-dir", str(tmp_path / "refused"), "--auth-token", options],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert theirs.returncode == 1
        assert f"etcdmain: {words}\n" in theirs.stderr, options
