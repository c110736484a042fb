"""The etcdctl commands that go on until they are stopped (watch, lock, elect, make-mirror), and
the alarms, against stock etcd and against ours."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import ExitStack

import pytest

from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.component.kvstore_harness import StoreCluster, wait_until
from tests.differential.pair import ENVIRONMENT, Pair, Running, Tally, member_id, normal, running
from tests.differential.stubs import channel

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")

WRITES = ("put w/1 a", "put w/1 b", "put v x", "put w/2 c", "del w/1", "del w/2", "put w/end z")
# What is watched, and the last thing that is said of it. A revision that is told is that of a
# response, so it depends on how events are gathered.
WATCHES = {
    "watch w/ --prefix --rev={rev}": "\nz\n",
    "watch w/ --prefix --rev={rev} --prev-kv": "\nz\n",
    "watch w/ --prefix --rev={rev} --prev-kv -w fields": '"Value" : "z"\n"Lease" : 0\n',
    "watch w/ --prefix --rev={rev} --hex": "\\x7a\n",
    "watch w/1 w/z --rev={rev}": "\nz\n",
    "watch '' --prefix --rev={rev}": "\nz\n",
    "watch w/ --prefix --rev={rev} -- sh -c 'env | grep ^ETCD_WATCH_[^R] | sort'": '_VALUE="z"',
    "watch w/1 w/z --rev={rev} --prev-kv -- sh -c 'echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY'": (
        'w/end"\n'
    ),
}


@pytest.mark.parametrize(("line", "last"), WATCHES.items())
def test_watch(pair: Pair, line: str, last: str) -> None:
    def watched(cluster: StoreCluster) -> str:
        remember_revision(cluster)
        with running(cluster, line, cluster.members[1]) as watch:
            write(cluster)
            watch.wait_for(last)
            return commands_apart(without_headers(watch.killed()))

    pair.agree(line, watched)


def commands_apart(text: str) -> str:
    """etcdctl prints all events of a response, then runs the command for each of them: how the two
    mix depends on how events are gathered."""
    lines = text.splitlines()
    said = [line for line in lines if line.startswith(("ETCD_WATCH_", '"PUT" "', '"DELETE" "'))]
    return "\n".join([*(line for line in lines if line not in said), *said])


def without_headers(text: str) -> str:
    """Of the format `fields`: how events are gathered into responses is a matter of timing."""
    header = re.compile(r'"(ClusterID|MemberID|Revision|RaftTerm|Canceled|CompactRevision)" ?:')
    return "\n".join(line for line in text.splitlines() if line and not header.match(line))


def test_watch_in_json(pair: Pair) -> None:
    """Event for event, however they are gathered."""

    def watched(cluster: StoreCluster) -> str:
        remember_revision(cluster)
        line = "watch w/ --prefix --prev-kv --rev={rev} -w json"
        with running(cluster, line, cluster.members[2]) as watch:
            write(cluster)
            watch.wait_for("dy9lbmQ=")  # w/end
            responses = [json.loads(one) for one in watch.said().splitlines()]
        return json.dumps([event for response in responses for event in response["Events"]])

    pair.agree("watch -w json", watched)


def test_watch_interactive(pair: Pair) -> None:
    def watched(cluster: StoreCluster) -> str:
        remember_revision(cluster)
        revision = cluster.extra_env["rev"]
        with running(cluster, "watch -i", cluster.members[1]) as watch:
            watch.type(f"watch w/1 --rev={revision}")
            watch.type(f"watch --prefix w/ --rev={revision} -- echo event")
            write(cluster)
            wait_until(lambda: watch.said().count("event") == 6, 60, "six events")
            wait_until(lambda: watch.said().count("DELETE") == 3, 60, "the deletions")
            watch.type("progress")
            watch.wait_for("progress notify: ")
            watch.type("nonsense")
            watch.hang_up()
            return "\n".join(sorted(watch.ended().splitlines()))

    pair.agree("watch -i", watched)
    pair.run("watch")
    pair.run("watch -i", stdin="watch\n")
    pair.run("watch -i", stdin="nonsense x\n")


def test_watch_of_what_comes(pair: Pair) -> None:
    """Without a revision: only what is written from then on."""

    def watched(cluster: StoreCluster) -> str:
        with running(cluster, "watch fresh", cluster.members[0]) as watch:

            def heard() -> bool:
                cluster.etcdctl("put", "fresh", "now")
                return "now" in watch.said()

            wait_until(heard, 60, "an event")
            return watch.killed().split("now")[0]

    pair.agree("watch fresh", watched)
    pair.level()


def remember_revision(cluster: StoreCluster) -> None:
    revision = cluster.json("get", "x", member=cluster.members[0])["header"]["revision"]
    cluster.extra_env["rev"] = str(revision + 1)


def write(cluster: StoreCluster) -> None:
    for line in WRITES:
        cluster.etcdctl(*line.split(), member=cluster.members[0])


def test_lease_keep_alive(pair: Pair) -> None:
    """Renewed again and again, until the lease is revoked."""

    def kept(cluster: StoreCluster) -> str:
        lease = cluster.etcdctl("lease", "grant", "3").stdout.split()[1]
        cluster.extra_env["kept"] = lease
        with running(cluster, "lease keep-alive {kept}", cluster.members[2]) as keeping:
            wait_until(lambda: keeping.said().count("keepalived") >= 3, 60, "three renewals")
            cluster.etcdctl("lease", "revoke", lease)
            keeping.ended()
            lines = normal(cluster, keeping.said()).splitlines()
        return "\n".join(sorted(set(lines)))

    pair.agree("lease keep-alive", kept)
    pair.level()


def test_locks(pair: Pair) -> None:
    def locked(cluster: StoreCluster) -> str:
        with ExitStack() as stack:

            def start(line: str, number: int) -> Running:
                return stack.enter_context(running(cluster, line, cluster.members[number]))

            holder = start("lock mutex --ttl=5", 0)
            holder.wait_for("mutex/")
            waiter = start("lock mutex -- sh -c 'echo held; env | grep ^ETCD_LOCK'", 1)
            wait_until(lambda: keys(cluster, "mutex/") == 2, 60, "the second to wait")
            first = holder.interrupted()
            second = waiter.ended()
            last = start("lock mutex -- sh -c 'exit 3'", 2).ended()
            return "\n".join([first, second, last])

    pair.agree("lock", locked)
    for line in ("lock", "lock x --ttl=x", "lock --ttl=7 y echo done", "lock '' true"):
        pair.run(line)
    pair.level()


def keys(cluster: StoreCluster, prefix: str) -> int:
    return int(cluster.json("get", prefix, "--prefix", "--keys-only").get("count", 0))


def test_elections(pair: Pair) -> None:
    def elected(cluster: StoreCluster) -> str:
        with ExitStack() as stack:

            def start(line: str, number: int) -> Running:
                return stack.enter_context(running(cluster, line, cluster.members[number]))

            one = start("elect e one", 0)
            one.wait_for("one")
            observer = start("elect -l e", 1)
            observer.wait_for("one")
            two = start("elect e two", 2)
            wait_until(lambda: keys(cluster, "e/") == 2, 60, "the second to stand")
            ended = [one.interrupted()]
            two.wait_for("two")
            observer.wait_for("two")
            ended.append(two.interrupted())
            ended.append(observer.interrupted())
            return "\n".join(ended)

    pair.agree("elect", elected)
    for line in ("elect", "elect e", "elect -l", "elect -l e x", "elect a b c"):
        pair.run(line)
    pair.level()


def test_mirrors_in_both_directions(pair: Pair) -> None:
    """etcd's mirror maker from ours into etcd, and from etcd into ours."""
    others = {id(pair.ours): pair.theirs, id(pair.theirs): pair.ours}

    def mirrored(cluster: StoreCluster) -> str:
        other = others[id(cluster)]
        tls = cluster.client
        line = (
            "make-mirror --prefix src/ --dest-prefix dst/ --dest-insecure-transport=false "
            f"--dest-cacert {tls.ca} --dest-cert {tls.cert} --dest-key {tls.key} "
            + other.members[1].client_url
        )
        for number in range(5):
            cluster.etcdctl("put", f"src/{number}", str(number))
        with running(cluster, line, cluster.members[0]):
            wait_until(lambda: keys(other, "dst/") == 5, 60, "what was there")
            cluster.etcdctl("del", "src/0")
            cluster.etcdctl("put", "src/1", "new")
            cluster.etcdctl("put", "src/last", "x")
            wait_until(lambda: "dst/last" in contents(other), 60, "what came")
            return contents(other)

    assert "dst/0" not in pair.agree("make-mirror", mirrored)
    pair.run("make-mirror")
    pair.run("make-mirror a b")
    pair.run("make-mirror --dest-prefix x --no-dest-prefix https://127.0.0.1:1")
    pair.level()


def contents(cluster: StoreCluster) -> str:
    return cluster.etcdctl("get", "--prefix", "dst/").stdout


RAISED = [
    "alarm list", "alarm list -w table", "put x 1", "put x", "del x", "lease grant 5",
    "endpoint status", "endpoint status -w json", "endpoint hashkv", "member list",
    "compaction 1", "defrag",
]  # fmt: skip


def test_alarm_without_space(pair: Pair) -> None:
    raise_alarm(pair, "NOSPACE")
    pair.run_all([*RAISED, "get x", "endpoint health"])
    pair.run("txn", stdin="\nput x 1\n\n\n")
    pair.run("txn", stdin="\nget x\n\n\n")
    pair.run_all(["alarm disarm -w table", "alarm list", "put x 1"])


def test_alarm_of_corruption(pair: Pair) -> None:
    raise_alarm(pair, "CORRUPT")
    pair.run_all([*RAISED, "get corrupt", "endpoint health --command-timeout=6s"])
    pair.run("txn", stdin="\nput x 1\n\n\n")
    pair.run("txn --command-timeout=6s", stdin="\nget x\n\n\n")
    pair.run_all(["alarm disarm", "alarm list", "put x 1"])


def raise_alarm(pair: Pair, kind: str) -> None:
    def activate(cluster: StoreCluster) -> None:
        alarm = rpc_pb2.AlarmRequest(
            action=rpc_pb2.AlarmRequest.ACTIVATE,
            memberID=int(member_id(cluster, "m2"), 16),
            alarm=rpc_pb2.AlarmType.Value(kind),
        )
        with channel(cluster) as opened:
            rpc_pb2_grpc.MaintenanceStub(opened).Alarm(alarm)

    pair.each(activate)


def test_passwords_from_stdin(pair: Pair) -> None:
    for line, typed in (
        ("user add bob --interactive=false", "secret\n"),
        ("user add bob --interactive=false", "secret\n"),
        ("user passwd bob --interactive=false", "other\n"),
        ("user passwd ghost --interactive=false", "other\n"),
        ("user passwd", ""),
        ("user add carol:x", ""),
        ("user passwd carol --interactive=false", "y\n"),
        ("user get bob", ""),
        ("user delete bob", ""),
        ("user delete carol", ""),
    ):
        pair.run(line, stdin=typed)


SNAPSHOTS = [
    "snapshot save {dir}/backup.db", "snapshot save /nonexistent/backup.db", "snapshot save",
    "snapshot", "snapshot status", "snapshot status /nonexistent/backup.db",
    "snapshot status {dir}/backup.db", "snapshot status {dir}/backup.db -w json",
    "snapshot status {dir}/backup.db -w fields", "snapshot status {dir}/backup.db -w table",
    "snapshot restore {dir}/backup.db --data-dir {dir}/restored",
    "snapshot restore {dir}/backup.db --data-dir {dir}/restored",
    "snapshot restore {dir}/backup.db --data-dir {dir}/other --name x "
    "--initial-cluster x=http://127.0.0.1:1 --initial-advertise-peer-urls http://127.0.0.1:1 "
    "--initial-cluster-token y --wal-dir {dir}/wal",
    "snapshot restore {dir}/backup.db --data-dir {dir}/no --name x", "snapshot restore",
    "snapshot restore {dir}/damaged.db --data-dir {dir}/no",
    "snapshot restore {dir}/damaged.db --data-dir {dir}/skipped --skip-hash-check",
]  # fmt: skip


def test_snapshots(pair: Pair) -> None:
    """etcdctl itself reads the file: what it finds in it is the same."""
    pair.run(SNAPSHOTS[0])
    for cluster in pair.both:
        folder = cluster.members[0].directory
        content = bytearray((folder / "backup.db").read_bytes())
        content[-1] ^= 1  # a byte of the checksum
        (folder / "damaged.db").write_bytes(content)
    pair.run_all(SNAPSHOTS)


# What a client does without a server.
NOT_COMPARED = {"completion", "help", "migrate", "(no command)"}


def test_every_command_was_compared(tally: Tally) -> None:
    if "role add" not in tally.commands:
        pytest.skip("tells something only after the other modules")
    shown = subprocess.run(["etcdctl", "help"], capture_output=True, text=True, env=ENVIRONMENT)
    listed = re.search(r"COMMANDS:\n(.*?)\n\n", shown.stdout, re.DOTALL)
    assert listed is not None
    commands = {re.split(r"\t+", line.strip())[0] for line in listed[1].splitlines()}
    missing = {one for one in commands - tally.commands if one.split()[0] not in NOT_COMPARED}
    assert not missing
