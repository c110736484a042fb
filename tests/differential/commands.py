"""etcdctl lines, in the order in which they are given to both stores."""

from __future__ import annotations

_NO_HEADER = "etcd 3.4 forgets the header of an alarm response; its etcdctl crashes on that"
_MOVE = "etcd lets everybody move the leader; ours wants the root role, as for other maintenance"
_BUCKETS = "counts the entries of all buckets; ours keeps some more about itself"
_HOW = ("", " -w json", " -w fields", " -w table")
_BACKWARDS = "etcd 3.4 takes a range whose end is before its start; later versions refuse it"

# Lines that are known to differ, and why. One that does not differ fails the run.
KNOWN = {
    "alarm list -w fields": _NO_HEADER,
    "alarm list -w json": _NO_HEADER,
    "alarm list -w protobuf": _NO_HEADER,
    "role grant-permission reader read b a": _BACKWARDS,
    "role revoke-permission reader b a": _BACKWARDS,
    **{f"snapshot status {{dir}}/backup.db{how}": _BUCKETS for how in _HOW},
    "move-leader 1": _MOVE,
    "--user=alice:wonder move-leader 123abc": _MOVE,
}

FORMATS = ("simple", "fields", "json", "protobuf", "table")


def in_all_formats(*lines: str) -> list[str]:
    return [f"{line} -w {how}" for line in lines for how in FORMATS]


KEYS = [
    "put a 1", "put a 2 --prev-kv", "get a", "get a -w simple --hex", "put b 1", "put c 'x y'",
    "get a c", "get --prefix ''", "get --prefix '' --keys-only", "get --from-key b",
    "get --prefix '' --limit=1", "get --prefix '' --limit=2 -w fields", "get a b c",
    "get a c --prefix", "get --from-key --prefix a", "get a c --from-key",
    "get a --rev=2", "get a --rev=1", "get a --rev=99", "get a --rev=-1", "get ''", "get nothing",
    "get a --consistency=s", "get a --consistency=x", "get --prefix '' --consistency=s -w json",
    "get a --print-value-only", "get a --print-value-only -w fields", "get a --order=UP",
    "get a --sort-by=AGE", "get", "get a --limit=-1", "get a b --limit=0",
    "get '' --prefix --keys-only -w json", "get zz a", "get a a", "get a '\\0' -w fields",
    "put '' x", "put a", "put", "put a 1 2", "put a --ignore-value", "put new --ignore-value",
    "put a x --ignore-value", "put a x --ignore-lease", "put a y --lease=77",
    "put a y --lease=nonsense", "put a x --ignore-lease --lease=77", "put -- a -1", "get a",
    "put a 1 --prev-kv -w fields", "put a 1 --prev-kv -w json", "put a 1 --prev-kv -w protobuf",
    "put a 1 --prev-kv -w table", "put new2 1 --prev-kv", "put new2 1 -w fields",
    "put a 1 -w nonsense", "put b \u00fcmlaut", "get b", "get b --hex", "get b -w json",
    *in_all_formats("get a", "get nothing", "get --prefix ''", "get --prefix '' --keys-only"),
]  # fmt: skip

SORTED = [
    f"get --prefix '' --keys-only {rest}".strip()
    for order in ("", "--order=ASCEND", "--order=DESCEND")
    for target in ("", "CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
    for rest in [" ".join(filter(None, [order, target and f"--sort-by={target}"]))]
] + [
    "get --prefix '' --sort-by=MODIFY --order=DESCEND --limit=2 -w fields",
    "get a z --sort-by=VERSION --rev=4",
]

DELETES = [
    "put d/1 1", "put d/2 2", "put d/3 3", "put d/4 4", "put d/5 5", "put d/6 6", "del nothing",
    "del d/1", "del d/1", "del d/2 --prev-kv", "del d/3 d/5 --prev-kv", "del --prefix d/ -w fields",
    "put z 1", "del --from-key y --prev-kv", "del ''", "del", "del a b c", "del a b --prefix",
    "del a --from-key --prefix", "put d/1 1", "del d/1 --prev-kv -w json", "put d/1 1",
    "del d/1 --prev-kv -w protobuf", "put d/1 1", "del d/1 --prev-kv -w fields", "del d/1 -w table",
    "del z a", "del --prefix '' --prev-kv --hex", "get --prefix ''",
]  # fmt: skip

COMPACTIONS = [
    "put c 1", "put c 2", "put c 3", "compaction 4", "compaction 4", "compaction 3",
    "compaction 9999", "compaction", "compaction x", "compaction -1", "compaction 0",
    "get c --rev=2", "get c --rev=4", "compaction 6 --physical", "compaction 6 --physical",
    "get c --rev=5", "watch c --rev=1", "watch c --rev=1 -w json", "watch c --rev=1 -w fields",
    "endpoint hashkv --rev=1", "endpoint hashkv --rev=9999", "check nonsense",
    "check datascale", "check perf --load=q", "check datascale --load=q",
]  # fmt: skip

LEASES = [
    "lease grant 0", "lease grant -1", "lease grant", "lease grant x", "lease grant 9000000001",
    "lease grant 300 -w json", "lease grant 300 -w fields", "lease grant 300 -w table",
    "lease grant 300 -w protobuf",
    "put leased x --lease={lease}", "put leased2 y --lease={lease}",
    "get leased -w json", "get leased -w fields", "put leased z --ignore-lease", "get leased",
    "put leased --ignore-value --lease={lease}", "put leased w", "get leased -w json",
    "put leased w --lease={lease}", "put leased --ignore-lease --ignore-value",
    "lease timetolive {lease}", "lease timetolive {lease} --keys",
    "lease timetolive {lease} --keys -w json", "lease timetolive {lease} --keys -w fields",
    "lease timetolive {lease} -w table", "lease timetolive {lease} -w protobuf",
    "lease timetolive", "lease timetolive x", "lease timetolive 77", "lease timetolive 77 -w json",
    "lease timetolive 0", "lease keep-alive --once {lease}",
    "lease keep-alive --once {lease} -w json", "lease keep-alive --once {lease} -w fields",
    "lease keep-alive --once 77", "lease keep-alive 77", "lease keep-alive --once x",
    "lease keep-alive", "lease keep-alive --once 0",
    "lease revoke {lease}", "get leased", "lease revoke {lease}", "lease revoke 77",
    "lease revoke x", "lease revoke", "lease revoke 0",
    "lease timetolive {lease}", "lease keep-alive --once {lease}",
    "put leased x --lease={lease}",
]  # fmt: skip

CONNECTIONS = [
    "get a --endpoints={dead},{m1url}", "get a --endpoints={m2url},{dead}",
    "get a --endpoints={dead} --command-timeout=500ms",
    "put a b --endpoints={dead} --dial-timeout=500ms --command-timeout=500ms",
    "get a --endpoints={m2url},{m3url},{m1url}",
    "endpoint health --endpoints={m1url},{dead} --command-timeout=3s",
    "endpoint status --endpoints={dead} --command-timeout=500ms",
    "get a --endpoints=nonsense --command-timeout=500ms", "get a --cert=/dev/null",
    "get a --cacert={othercert} --command-timeout=500ms",
    "get a --cert={othercert} --key={otherkey} --command-timeout=500ms",
    "get a --insecure-skip-tls-verify", "get a --debug -w json",
    "get a --user=root:x", "get a --user=root --password=x", "get a --user=root:x --password=y",
    "get a --password=y", "get a --keepalive-time=1s --keepalive-timeout=500ms",
    "get a --discovery-srv=invalid.invalid", "nonsense", "get --nonsense", "version",
]  # fmt: skip

MEMBERS = [
    *in_all_formats("member list", "alarm list"), "member list --hex",
    "member list -w nonsense", "endpoint health",
    "endpoint health -w json", "endpoint health -w table", "endpoint health -w fields",
    "endpoint status", "endpoint status -w json", "endpoint status -w table",
    "endpoint status -w fields", "endpoint status -w protobuf", "endpoint hashkv -w json",
    "endpoint hashkv -w fields", "endpoint hashkv -w table", "endpoint hashkv",
    "alarm disarm", "alarm", "defrag", "defrag --cluster", "member", "member add",
    "member remove 123abc", "member remove", "member remove zz", "member promote 123abc",
    "member promote {m2}", "member promote zz", "member promote",
    "member add x", "member add x --peer-urls=nonsense", "member add x --peer-urls={m2peer}",
    "member add x y --peer-urls=http://localhost:1", "member add x --peer-urls=http://h:1/path",
    "member update 123abc --peer-urls=http://x:1",
    "member update {m2}", "member update {m2} --peer-urls={m3peer}",
    "member update {m2} --peer-urls=nonsense", "member update {m2} --peer-urls={m2peer}",
    "member update zz --peer-urls=http://x:1", "move-leader", "move-leader zz",
    "move-leader 123abc", "move-leader {m1}",
]  # fmt: skip
EVERY_MEMBER = [
    "endpoint health", "endpoint status --cluster", "endpoint health --cluster",
    "endpoint status", "endpoint status -w fields", "move-leader 123abc", "defrag",
    "endpoint hashkv --cluster", "alarm list", "get x", "put x 1",
]  # fmt: skip

ROOT = "--user=root:secret"
ALICE = "--user=alice:wonder"
AUTH = [
    "auth disable", "auth", "auth enable", "user add root:secret", "user add root:again",
    "user add alice --new-user-password=wonder", "user add", "user add :x", "user add ''",
    "user add nobody --no-password", "user add nobody2 --new-user-password=''",
    *in_all_formats("user list", "role list"), "user get alice", "user get ghost", "user get",
    "role add reader", "role add reader", "role add", "role add ''", "role add r2 -w json",
    "role get reader", "role get ghost", "role get", "role get reader extra",
    "role grant-permission reader read a b", "role grant-permission reader readwrite x",
    "role grant-permission reader write p --prefix", "role grant-permission ghost read x",
    "role grant-permission reader read z --from-key", "role grant-permission reader read",
    "role grant-permission reader fly x", "role grant-permission reader read b a",
    "role revoke-permission reader b a",
    "role grant-permission reader read q q2 --prefix", "role grant-permission r2 read ''",
    "role grant-permission reader read x", "role grant-permission reader readwrite x",
    "role grant-permission r2 read '' --prefix", "role grant-permission r2 write '' --from-key",
    *in_all_formats("role get reader", "role get r2"), "role get r2",
    "user grant-role alice reader", "user grant-role alice reader",
    "user grant-role alice r2", "user revoke-role alice r2", "user grant-role alice",
    "user grant-role alice ghost", "user grant-role ghost reader",
    *in_all_formats("user get alice"), "user get alice --detail", "user get alice --detail -w json",
    "user revoke-role alice ghost", "user revoke-role ghost reader", "user revoke-role alice r2",
    "role revoke-permission reader x", "role revoke-permission reader x",
    "role revoke-permission ghost x", "role revoke-permission reader a b",
    "role revoke-permission reader a b", "role grant-permission reader read a b",
    "role revoke-permission reader z --from-key", "role grant-permission reader read z --from-key",
    "role revoke-permission reader p --prefix", "role grant-permission reader write p --prefix",
    "role revoke-permission reader",
    "role delete ghost", "role delete r2", "role delete", "user delete ghost", "user delete nobody",
    "user delete nobody2", "user delete", "put x 1", "user grant-role root root", "get root",
    "auth enable", f"{ROOT} auth enable", "get a", "put a 1", "del a", "lease grant 5",
    "lease list", "member list", "endpoint health", "endpoint status", "alarm list", "compaction 1",
    "user list", "auth enable", "defrag", "snapshot save {dir}/no", "watch a", "move-leader 1",
    "txn",
    f"{ALICE} get a", f"{ALICE} get a b", f"{ALICE} get a c", f"{ALICE} get aa ab",
    f"{ALICE} get --prefix ''", f"{ALICE} put a 1",
    f"{ALICE} put p/1 1", f"{ALICE} get p/1", f"{ALICE} del p/ --prefix", f"{ALICE} get z zz",
    f"{ALICE} get --from-key z", f"{ALICE} get --from-key y",
    f"{ALICE} del p/1 --prev-kv", f"{ALICE} put p/1 2 --prev-kv",
    f"{ALICE} put p/1 2 --ignore-lease", f"{ALICE} put p/1 --ignore-value",
    "--user=alice --password=wonder get a", "--user=alice:wrong get a", "--user=ghost:x get a",
    "--user=alice: get a", "--user=:wonder get a", f"{ALICE} user list",
    f"{ALICE} user get alice", f"{ALICE} user get root", f"{ALICE} role get reader",
    f"{ALICE} role get root", f"{ALICE} user get alice --detail",
    f"{ALICE} role list", f"{ALICE} role add more", f"{ALICE} compaction 2",
    f"{ALICE} member add x --peer-urls=http://localhost:1", f"{ALICE} member remove 123abc",
    f"{ALICE} member list", f"{ALICE} member update 123abc --peer-urls=http://localhost:1",
    f"{ALICE} member promote 123abc", f"{ALICE} defrag", f"{ALICE} endpoint health",
    f"{ALICE} endpoint status", f"{ALICE} endpoint hashkv", f"{ALICE} alarm list",
    f"{ALICE} alarm disarm", f"{ALICE} move-leader 123abc", f"{ALICE} auth disable",
    f"{ALICE} snapshot save {{dir}}/no", f"{ALICE} watch x", f"{ALICE} watch a c",
    f"{ALICE} lease grant -1", f"{ALICE} lease list", f"{ALICE} lease revoke 77",
    f"{ALICE} lease timetolive 77 --keys", f"{ALICE} lease keep-alive --once 77",
    f"{ALICE} elect e x", f"{ALICE} lock p/l", f"{ALICE} user delete alice",
    f"{ALICE} user grant-role alice reader", f"{ALICE} user revoke-role alice reader",
    f"{ALICE} role delete reader", f"{ALICE} role grant-permission reader read all",
    f"{ALICE} role revoke-permission reader a b",
    f"{ROOT} user delete root", f"{ROOT} role delete root",
    f"{ROOT} user revoke-role root root", f"{ROOT} role add root",
    f"{ROOT} role get root", f"{ROOT} user get root", f"{ROOT} user get root --detail",
    f"{ROOT} compaction 2", f"{ROOT} defrag", f"{ROOT} member list", f"{ROOT} lease list",
    f"{ROOT} endpoint hashkv", f"{ROOT} endpoint status", f"{ROOT} endpoint health",
    f"{ROOT} put p/9 1", f"{ROOT} get --prefix p",
    # The certificate's common name says who asks when no token does.
    f"{ROOT} user add kvstore-client --no-password", "get a", "user get kvstore-client",
    f"{ROOT} user grant-role kvstore-client reader", "get a", "put a 1", "put p/1 1", "user list",
    f"{ROOT} user passwd alice --interactive=false", f"{ROOT} user grant-role kvstore-client root",
    "put a 1", "user list", "--user=kvstore-client:x get a", f"{ALICE} put a 1",
    f"{ROOT} user delete kvstore-client", "get a",
    f"{ROOT} role delete reader", f"{ALICE} get a",
    f"{ROOT} user list", f"{ROOT} role list",
]  # fmt: skip
AFTER_AUTH = [
    f"{ROOT} auth disable", "auth disable", "user delete alice", "user delete root", "role list",
    "role delete root", "user list", "get x",
]  # fmt: skip
