"""What the client port says to those who do not speak gRPC: pages and the JSON gateway, asked of
both stores over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.component.kvstore_harness import StoreCluster, StoreProcess
from tests.differential.pair import Pair, difference, normal, outcome

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")


@contextmanager
def opened(
    cluster: StoreCluster, *, tls: bool = False, member: StoreProcess | None = None
) -> Iterator[http.client.HTTPConnection]:
    member = member or cluster.members[0]
    if tls:
        context = ssl.create_default_context(cafile=str(cluster.client.ca))
        context.load_cert_chain(cluster.client.cert, cluster.client.key)
        found: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", member.client_port, timeout=60, context=context
        )
    else:
        found = http.client.HTTPConnection("127.0.0.1", member.plain_port, timeout=60)
    try:
        yield found
    finally:
        found.close()


_HEADERS = (
    "Content-Type", "X-Content-Type-Options", "Allow", "Grpc-Metadata-Content-Type",
    "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
)  # fmt: skip


def answer(
    cluster: StoreCluster, method: str, path: str, body: str | None = None, *, tls: bool = False,
    **headers: str,
) -> tuple[int, str, bytes]:  # fmt: skip
    """Status, the headers that matter, body."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with opened(cluster, tls=tls) as connection:
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        told = [
            f"{name}: {response.headers[name]}" for name in _HEADERS if name in response.headers
        ]
        return response.status, "\n".join(told), response.read()


def compare(pair: Pair, what: str, ask: Callable[[StoreCluster], str]) -> None:
    ours, theirs = pair.each(lambda cluster: normal(cluster, ask(cluster)))
    assert ours == theirs, f"{what}\n{difference(ours, theirs)}"


def asking(line: str, **how: Any) -> Callable[[StoreCluster], str]:
    """A line is METHOD PATH [BODY]."""
    method, path, body = (*line.split(" ", 2), "")[:3]

    def ask(cluster: StoreCluster) -> str:
        status, told, data = answer(cluster, method, path, body, **how)
        return f"{status}\n{told}\n{_without_header(path, data).decode()}"

    return ask


def ask_all(pair: Pair, lines: list[str], **how: Any) -> None:
    """All are asked, so that one run tells everything."""
    different = []
    for line in lines:
        try:
            compare(pair, line, asking(line, **how))
        except AssertionError as error:
            different.append(str(error))
    assert not different, f"{len(different)} of {len(lines)} differ\n" + "\n".join(different)


def _without_header(path: str, data: bytes) -> bytes:
    """etcd 3.4 forgets the header of these two answers."""
    if path not in ("/v3/maintenance/alarm", "/v3/maintenance/defragment"):
        return data
    value = json.loads(data)
    value.pop("header", None)
    return json.dumps(value).encode()


def b64(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


A, B, C, Z = (b64(one) for one in "abcz")

PAGES = [
    "GET /health", "POST /health", "HEAD /health", "GET /health?serializable=true",
    "GET /health?exclude=NOSPACE", "GET /version", "POST /version x", "HEAD /version",
    "OPTIONS /version", "OPTIONS /v3/kv/range", "GET /", "GET /nothing", "POST /nothing {}",
    "GET /v2/keys", "GET /version/", "GET /v3/kv/range", "PUT /v3/kv/range {}", "GET /v3/nothing",
    "POST /v3/nothing {}", "POST /v3/kv/range/ {}", "POST /v3alpha/kv/range {}",
]  # fmt: skip

CALLS = [
    f'POST /v3/kv/put {{"key":"{A}","value":"{b64("one")}"}}',
    f'POST /v3/kv/put {{"key":"{A}","value":"{b64("two")}","prev_kv":true}}',
    f'POST /v3/kv/put {{"key":"{B}","prevKv":true}}',
    f'POST /v3/kv/put {{"key":"{C}","value":"{b64(chr(0) + chr(255))}"}} trailing',
    'POST /v3/kv/put {"value":"eA=="}', "POST /v3/kv/put", "POST /v3/kv/put null",
    f'POST /v3/kv/put {{"key":"{A}","lease":"77"}}',
    f'POST /v3/kv/put {{"key":"{Z}","ignore_value":true}}',
    f'POST /v3/kv/range {{"key":"{A}"}}', f'POST /v3beta/kv/range {{"key":"{A}"}}',
    f'POST /v3/kv/range {{"key":"{A}","range_end":"{Z}"}}',
    f'POST /v3/kv/range {{"key":"{A}","rangeEnd":"{Z}","limit":1,"sort_order":"DESCEND"}}',
    f'POST /v3/kv/range {{"key":"{A}","range_end":"{Z}","sort_order":2,"sort_target":"VERSION"}}',
    f'POST /v3/kv/range {{"key":"{A}","range_end":"{Z}","count_only":true}}',
    f'POST /v3/kv/range {{"key":"{A}","range_end":"{Z}","keys_only":true,"serializable":true}}',
    f'POST /v3/kv/range {{"key":"{A}","revision":"2"}}',
    f'POST /v3/kv/range {{"key":"{A}","revision":2}}',
    f'POST /v3/kv/range {{"key":"{A}","revision":"999"}}',
    f'POST /v3/kv/range {{"key":"{A}","unknown":[{{}}]}}',
    f'POST /v3/kv/range?limit=1 {{"key":"{A}"}}',
    "POST /v3/kv/range {}", f'POST /v3/kv/range {{"key":"{Z}"}}',
    f'POST /v3/kv/txn {{"compare":[{{"result":"EQUAL","target":"VERSION","key":"{A}",'
    f'"version":"2"}}],"success":[{{"request_put":{{"key":"{A}","value":"{B}"}}}},'
    f'{{"requestRange":{{"key":"{A}"}}}},{{"request_delete_range":{{"key":"{B}"}}}}],'
    f'"failure":[{{"request_range":{{"key":"{B}"}}}}]}}',
    f'POST /v3/kv/txn {{"compare":[{{"result":"GREATER","target":"MOD","key":"{A}",'
    f'"mod_revision":"99"}}],"failure":[{{"request_txn":{{"success":[{{"request_range":'
    f'{{"key":"{A}"}}}}]}}}}]}}',
    "POST /v3/kv/txn {}", 'POST /v3/kv/txn {"success":[{}]}',
    f'POST /v3/kv/txn {{"success":[{{"request_put":{{"key":"{A}"}}}},'
    f'{{"request_put":{{"key":"{A}"}}}}]}}',
    f'POST /v3/kv/deleterange {{"key":"{A}","range_end":"{Z}","prev_kv":true}}',
    f'POST /v3/kv/deleterange {{"key":"{A}"}}', "POST /v3/kv/deleterange {}",
    'POST /v3/kv/compaction {"revision":"3","physical":true}',
    'POST /v3/kv/compaction {"revision":"3"}', 'POST /v3/kv/compaction {"revision":"999"}',
    f'POST /v3/kv/range {{"key":"{A}","revision":"2"}}',
    'POST /v3/lease/grant {"TTL":300,"ID":7}', 'POST /v3/lease/grant {"TTL":300,"ID":"7"}',
    'POST /v3/lease/grant {"TTL":"9000000001"}', 'POST /v3/lease/keepalive {"ID":7}',
    'POST /v3/lease/keepalive {"ID":"7"} {"ID":"8"}', 'POST /v3/lease/keepalive {"ID":7}x',
    f'POST /v3/kv/put {{"key":"{Z}","lease":"7"}}', f'POST /v3/kv/range {{"key":"{Z}"}}',
    'POST /v3/lease/timetolive {"ID":7,"keys":true}', 'POST /v3/kv/lease/timetolive {"ID":8}',
    "POST /v3/lease/leases {}", "POST /v3/kv/lease/leases", 'POST /v3/kv/lease/revoke {"ID":7}',
    'POST /v3/lease/revoke {"ID":7}', "POST /v3/cluster/member/list {}",
    "POST /v3/cluster/member/add {}", 'POST /v3/cluster/member/promote {"ID":"1"}',
    'POST /v3/cluster/member/remove {"ID":"1"}',
    'POST /v3/cluster/member/update {"ID":"1","peerURLs":["http://a:1"]}',
    "POST /v3/maintenance/alarm {}",
    'POST /v3/maintenance/alarm {"action":"GET","alarm":"CORRUPT"}',
    "POST /v3/maintenance/defragment {}", "POST /v3/maintenance/transfer-leadership {}",
    "POST /v3/maintenance/hash {}", "POST /v3/maintenance/hashkv {}", "POST /v3/auth/status {}",
    'POST /v3/auth/role/add {"name":"<&>\u00fc\\u2028\\ud800"}', "POST /v3/auth/role/list {}",
    "POST /v3/auth/enable {}", "POST /v3/auth/authenticate {}", "POST /v3/auth/user/add {}",
    'POST /v3/election/leader {"name":"bm9uZQ=="}',
]  # fmt: skip

# Go's own words for these are not ours.
MALFORMED = [
    'POST /v3/kv/range {"key":', "POST /v3/kv/range {", "POST /v3/kv/range x",
    "POST /v3/kv/range [",
    "POST /v3/kv/range []", "POST /v3/kv/range 3", 'POST /v3/kv/range {"key":"***"}',
    'POST /v3/kv/range {"key":"YQ"}', 'POST /v3/kv/range {"key":"_-8="}',
    'POST /v3/kv/range {"key":3}',
    f'POST /v3/kv/range {{"key":"{A}","limit":"x"}}',
    f'POST /v3/kv/range {{"key":"{A}","limit":""}}',
    f'POST /v3/kv/range {{"key":"{A}","limit":1.5}}',
    f'POST /v3/kv/range {{"key":"{A}","limit":1e3}}',
    f'POST /v3/kv/range {{"key":"{A}","limit":99999999999999999999}}',
    f'POST /v3/kv/range {{"key":"{A}","limit":true}}',
    f'POST /v3/kv/range {{"key":"{A}","limit":NaN}}',
    f'POST /v3/kv/range {{"key":"{A}","sort_order":"NOPE"}}',
    f'POST /v3/kv/range {{"key":"{A}","serializable":"true"}}',
    f'POST /v3/kv/range {{"key":"{A}","serializable":1}}',
    f'POST /v3/kv/range {{"key":"{A}",}}', f"POST /v3/kv/range {{'key':'{A}'}}",
    'POST /v3/kv/txn {"compare":{}}', 'POST /v3/kv/txn {"success":[{"request_put":3}]}',
    'POST /v3/kv/txn {"success":[3]}', 'POST /v3/watch {"create_request":', "POST /v3/watch x",
    'POST /v3/lease/keepalive {"ID":"x"}', 'POST /v3/auth/role/add {"name":3}',
    "POST /v3/kv/range " + "[" * 100_000,
]  # fmt: skip


def test_pages(pair: Pair) -> None:
    ask_all(pair, PAGES)
    ask_all(pair, PAGES, tls=True)


def test_metrics(pair: Pair) -> None:
    """The names that tools ask for are there, in the same words."""

    def ask(cluster: StoreCluster) -> str:
        status, told, data = answer(cluster, "GET", "/metrics", tls=True)
        names = {line.split(" ")[0].split("{")[0] for line in data.decode().splitlines()}
        wanted = {"process_resident_memory_bytes", "etcd_server_has_leader", "go_goroutines"}
        return f"{status}\n{told}\n{sorted(names & wanted)}"

    compare(pair, "/metrics", ask)


def test_the_gateway(pair: Pair) -> None:
    ask_all(pair, CALLS)


def test_what_is_no_request(pair: Pair) -> None:
    """The same status and code; what is wrong both say in words of their own."""

    def ask(line: str) -> Callable[[StoreCluster], str]:
        method, path, body = line.split(" ", 2)

        def one(cluster: StoreCluster) -> str:
            status, told, data = answer(cluster, method, path, body)
            value = json.loads(data)
            return f"{status}\n{told}\n{sorted(value)} {value.get('code')}"

        return one

    different = []
    for line in MALFORMED:
        ours, theirs = pair.each(ask(line))
        if ours != theirs:
            different.append(f"{line[:80]}\n{difference(ours, theirs)}")
    assert not different, "\n".join(different)


def test_deadlines(pair: Pair) -> None:
    asked = f'POST /v3/kv/range {{"key":"{A}"}}'
    ask_all(pair, [asked], Grpc_Timeout="1n")
    ask_all(pair, [asked], Grpc_Timeout="10S")
    ask_all(pair, [asked], Grpc_Timeout="soon")


def test_large_requests(pair: Pair) -> None:
    def ask(size: int) -> Callable[[StoreCluster], str]:
        body = json.dumps({"key": A, "value": b64("x" * size)})
        return lambda cluster: str(answer(cluster, "POST", "/v3/kv/put", body)[0])

    compare(pair, "1 MB", ask(1_000_000))
    compare(pair, "more than a request may have", ask(1_600_000))
    compare(pair, "more than the transport takes", ask(2_300_000))


def test_watches_stream(pair: Pair) -> None:
    key = b64("watched")

    def ask(cluster: StoreCluster) -> str:
        def put(value: str) -> None:
            body = json.dumps({"key": key, "value": b64(value)})
            assert answer(cluster, "POST", "/v3/kv/put", body)[0] == 200

        put("before")
        with opened(cluster) as connection:
            created = {"create_request": {"key": key, "start_revision": "1", "prev_kv": True}}
            created["create_request"]["start_revision"] = str(_revision(cluster))
            connection.request("POST", "/v3/watch", body=json.dumps(created))
            response = connection.getresponse()
            lines = [str(response.status), str(response.headers["Content-Type"])]
            lines += [response.readline().decode() for _ in range(2)]
            put("after")
            lines.append(response.readline().decode())
        return "\n".join(line.strip() for line in lines)

    compare(pair, "/v3/watch", ask)


def _revision(cluster: StoreCluster) -> int:
    body = answer(cluster, "POST", "/v3/kv/range", json.dumps({"key": A}))[2]
    return int(json.loads(body)["header"]["revision"])


def test_a_snapshot_streams(pair: Pair) -> None:
    """However it is cut into pieces, all of it, and its checksum last."""

    def ask(cluster: StoreCluster) -> str:
        status, told, data = answer(cluster, "POST", "/v3/maintenance/snapshot", "{}")
        blobs = [json.loads(line)["result"]["blob"] for line in data.splitlines()]
        snapshot = b"".join(base64.b64decode(blob) for blob in blobs)
        assert hashlib.sha256(snapshot[:-32]).digest() == snapshot[-32:]
        return f"{status}\n{told}"

    compare(pair, "/v3/maintenance/snapshot", ask)


def test_over_http_2(pair: Pair) -> None:
    """TLS says h2; what is no gRPC is answered all the same."""

    def ask(path: str, *more: str) -> Callable[[StoreCluster], str]:
        def curl(cluster: StoreCluster) -> str:
            tls = cluster.client
            command = [
                "curl", "-s", "--http2", "--max-time", "60", "--cacert", str(tls.ca),
                "--cert", str(tls.cert), "--key", str(tls.key),
                "-w", "\n%{http_version} %{http_code} %{content_type}", *more,
                f"{cluster.members[0].client_url}{path}",
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
            assert done.stdout.splitlines()[-1].startswith("2 ")
            return done.stdout

        return curl

    for path in ("/health", "/version", "/nothing", "/v3/kv/range"):
        compare(pair, path, ask(path))
    compare(pair, "HEAD", ask("/version", "-I", "-o", "/dev/null"))
    for path, body in (
        ("/v3/kv/range", f'{{"key":"{A}"}}'), ("/v3/kv/range", "{}"), ("/v3/kv/range", "x"),
        ("/v3/lease/revoke", '{"ID":1}'), ("/v3/lease/keepalive", '{"ID":1}'),
    ):  # fmt: skip
        compare(pair, f"{path} {body}", ask(path, "-d", body))
    compare(pair, "gRPC's type", ask("/v3/kv/range", "-d", "{}", "-H", "Content-Type: text/html"))


def test_data_scale(pair: Pair) -> None:
    """It puts 10,000 keys, and reads how much memory the store has taken from its /metrics."""

    def check(cluster: StoreCluster) -> str:
        shown = outcome(cluster, "check datascale --insecure-skip-tls-verify", None, 0)
        return "\n".join(line for line in shown.splitlines() if "%" not in line)

    assert "PASS" in pair.agree("check datascale --insecure-skip-tls-verify", check)


def test_users_and_tokens(pair: Pair) -> None:
    """Last of all: from here on anonymous calls are refused."""
    ask_all(pair, [
        'POST /v3/auth/user/add {"name":"root","password":"pw"}',
        'POST /v3/auth/user/add {"name":"root","password":"pw"}',
        'POST /v3/auth/user/add {"name":"alice","password":"wonder"}',
        'POST /v3/auth/role/add {"name":"root"}', 'POST /v3/auth/role/add {"name":"reader"}',
        f'POST /v3/auth/role/grant {{"name":"reader","perm":{{"permType":"READ","key":"{A}"}}}}',
        'POST /v3/auth/user/grant {"user":"root","role":"root"}',
        'POST /v3/auth/user/grant {"user":"alice","role":"reader"}',
        'POST /v3/auth/user/grant {"user":"alice","role":"nobody"}',
        'POST /v3/auth/user/get {"name":"alice"}', 'POST /v3/auth/role/get {"role":"reader"}',
        'POST /v3/auth/user/list {}', "POST /v3/auth/enable {}",
        'POST /v3/auth/authenticate {"name":"alice","password":"wrong"}',
    ])  # fmt: skip
    calls = [
        f'POST /v3/kv/range {{"key":"{A}"}}', f'POST /v3/kv/range {{"key":"{B}"}}',
        f'POST /v3/kv/put {{"key":"{A}"}}', "POST /v3/auth/user/list {}", "GET /health",
        'POST /v3/auth/user/changepw {"name":"alice","password":"x"}',
    ]  # fmt: skip
    ask_all(pair, calls)
    ask_all(pair, calls, tls=True)  # a certificate names nobody here
    for user, password in (("alice", "wonder"), ("root", "pw")):
        tokens = {id(cluster): token(cluster, user, password) for cluster in pair.both}
        for line in calls if user == "root" else calls[:-1]:
            compare(
                pair,
                f"{user}: {line}",
                lambda cluster, line=line, tokens=tokens: asking(  # type: ignore[misc]  # bound now
                    line, Authorization=tokens[id(cluster)]
                )(cluster),
            )
    ask_all(pair, calls[:1], Authorization="nonsense")


def token(cluster: StoreCluster, user: str, password: str) -> str:
    body = json.dumps({"name": user, "password": password})
    return str(json.loads(answer(cluster, "POST", "/v3/auth/authenticate", body)[2])["token"])
