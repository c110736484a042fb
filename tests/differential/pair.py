"""Our store and Debian's stock etcd, three members each, that are asked the same things.

`Pair.run` gives one etcdctl command to both and compares exit code, stdout and stderr. Replaced
by placeholders before the comparison is only what must differ: ids, ports, folders, times,
versions, terms and log positions, sizes and checksums.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from kube.stubs.etcd import rpc_pb2
from tests.component.kvstore_harness import StoreCluster, StoreProcess, wait_until
from tests.differential.commands import KNOWN

_T = TypeVar("_T")
ENVIRONMENT = {**os.environ, "ETCDCTL_API": "3"}

# What etcdctl prints with `-w protobuf`, by command. Of leases it prints the header alone.
_MESSAGES: dict[str, type[Message]] = {
    "get": rpc_pb2.RangeResponse,
    "put": rpc_pb2.PutResponse,
    "del": rpc_pb2.DeleteRangeResponse,
    "txn": rpc_pb2.TxnResponse,
    "alarm list": rpc_pb2.AlarmResponse,
    "lease grant": rpc_pb2.ResponseHeader,
    "lease keep-alive": rpc_pb2.ResponseHeader,
    "lease list": rpc_pb2.ResponseHeader,
    "lease revoke": rpc_pb2.ResponseHeader,
    "lease timetolive": rpc_pb2.ResponseHeader,
    "member list": rpc_pb2.MemberListResponse,
    "role get": rpc_pb2.AuthRoleGetResponse,
    "role list": rpc_pb2.AuthRoleListResponse,
    "user get": rpc_pb2.AuthUserGetResponse,
    "user list": rpc_pb2.AuthUserListResponse,
}
# Fields of JSON and of the `fields` format that say who answered, when, and from what files.
_OWN = {
    "cluster_id", "member_id", "raft_term", "ID", "id", "leader", "memberID", "dbSize",
    "dbSizeInUse", "raftIndex", "raftAppliedIndex", "raftTerm", "hash", "took", "lease",
    "totalSize", "Size", "ClusterID", "MemberID", "RaftTerm", "Lease", "DBSize", "DBSizeInUse",
    "Leader", "RaftIndex", "RaftAppliedIndex", "Hash", "Took", "LeaseID",
}  # fmt: skip
_VERSION = re.compile(r"\b3\.\d+\.\d+\b")
# etcd 3.4's maintenance service forgets to translate these; later versions do not.
_UNTRANSLATED = {
    "auth: permission denied": "etcdserver: permission denied",
    "auth: user not found": "etcdserver: user name not found",
}


Lines = defaultdict[str, list[str]]


@dataclass
class Tally:
    """What was compared, by etcdctl command."""

    same: Counter[str] = field(default_factory=Counter)
    known: Lines = field(default_factory=lambda: defaultdict(list))
    different: Lines = field(default_factory=lambda: defaultdict(list))

    @property
    def commands(self) -> set[str]:
        return {*self.same, *self.known, *self.different}

    def lines(self) -> Iterator[str]:
        yield f"{'etcdctl command':<26} {'same':>5} {'known to differ':>16} {'different':>10}"
        for command in sorted(self.commands):
            yield _row(
                command,
                self.same[command],
                len(self.known.get(command, ())),
                len(self.different.get(command, ())),
            )
        known = [line for lines in self.known.values() for line in lines]
        different = [line for lines in self.different.values() for line in lines]
        yield _row("total", sum(self.same.values()), len(known), len(different))
        yield from (f"known to differ: {line}: {KNOWN[line]}" for line in known)
        yield from (f"different: {line}" for line in different)


def _row(name: str, same: int, known: int, different: int) -> str:
    return f"{name:<26} {same:>5} {known or '':>16} {different or '':>10}"


@dataclass
class Pair:
    ours: StoreCluster
    theirs: StoreCluster
    tally: Tally

    @property
    def both(self) -> tuple[StoreCluster, StoreCluster]:
        return self.ours, self.theirs

    def each(self, action: Callable[[StoreCluster], _T]) -> list[_T]:
        """Do `action` on both at once; ours is first."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(action, self.both))

    def run(self, line: str, stdin: str | None = None, member: int | None = 0) -> str:
        """One etcdctl line on both; the outcome that they share."""
        return self.agree(line, lambda cluster: outcome(cluster, line, stdin, member))

    def agree(self, line: str, action: Callable[[StoreCluster], str]) -> str:
        """`action` is an etcdctl command that needs more than one process: compared alike."""
        ours, theirs = self.each(action)
        command = command_of(line)
        if line in KNOWN:
            self.tally.known[command].append(line)
            assert ours != theirs, f"etcdctl {line}: differs no longer, so it is not known to"
        elif ours == theirs:
            self.tally.same[command] += 1
        else:
            self.tally.different[command].append(line)
            raise AssertionError(f"etcdctl {line}\n{difference(ours, theirs)}")
        return ours

    def run_all(self, lines: list[str], member: int | None = 0) -> None:
        """Many lines in a row. All run, whatever differs, so that one run tells everything."""
        different = []
        for line in lines:
            try:
                self.run(line, member=member)
            except AssertionError as error:
                different.append(str(error))
        assert not different, f"{len(different)} of {len(lines)} differ\n" + "\n".join(different)

    def level(self) -> None:
        """Bring both to the same revision: timing decides how often some recipes write."""
        revisions = [cluster.json("get", "x")["header"]["revision"] for cluster in self.both]
        for cluster, behind in zip(self.both, (max(revisions) - r for r in revisions), strict=True):
            for _ in range(behind):
                cluster.etcdctl("put", "level", "")


def difference(ours: str, theirs: str) -> str:
    lines = list(difflib.ndiff(ours.splitlines(), theirs.splitlines()))
    names = {"- ": "  ours:   ", "+ ": "  theirs: "}
    return "\n".join(names[one[:2]] + one[2:] for one in lines if one[:2] in names)


def command_of(line: str) -> str:
    """`--user=x get a -w json` -> `get`, `lease grant 5` -> `lease grant`."""
    words = [word for word in line.split() if not word.startswith("-")]
    groups = ("alarm", "auth", "check", "endpoint", "lease", "member", "role", "snapshot", "user")
    if not words:
        return "(no command)"
    return " ".join(words[: 2 if words[0] in groups else 1])


def outcome(cluster: StoreCluster, line: str, stdin: str | None, member: int | None) -> str:
    """Exit code, stdout and stderr of one etcdctl call, with placeholders."""
    arguments = shlex.split(filled(cluster, line))
    members = cluster.members if member is None else [cluster.members[member]]
    # What is answered shall be, however slow the machine is. (The last of two counts.)
    command = cluster.etcdctl_command("--command-timeout=30s", *arguments, members=members)
    if any(word.startswith("--endpoints") for word in arguments):
        del command[1]
    result = subprocess.run(
        command,
        env=ENVIRONMENT,
        input=None if stdin is None else stdin.encode(),
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=120,
    )
    return rendered(cluster, line, result.returncode, result.stdout, result.stderr)


def rendered(cluster: StoreCluster, line: str, code: int, stdout: bytes, stderr: bytes) -> str:
    shown = _protobuf(line, stdout) if "-w protobuf" in line and code == 0 else text(stdout)
    # The client's own log: times, and addresses of its internals.
    errors = [one for one in text(stderr).splitlines() if not one.startswith("{")]
    if "--keys -w fields" in line:
        shown = "\n".join(sorted(shown.splitlines()))  # etcd lists a lease's keys in any order
    return normal(cluster, f"exit {code}\n{shown}\n--\n" + "\n".join(errors))


def text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _protobuf(line: str, data: bytes) -> str:
    kind = _MESSAGES.get(command_of(line))
    if kind is None:
        return text(data)
    message: Any = kind.FromString(data)
    header = message if kind is rpc_pb2.ResponseHeader else message.header
    for name in ("cluster_id", "member_id", "raft_term"):
        if getattr(header, name):
            setattr(header, name, 1)
    for member in getattr(message, "members", ()):
        member.ID = 1
    return str(message)


def filled(cluster: StoreCluster, line: str) -> str:
    """`{m1}` is a member's id, `{m1url}` its client URL, `{dir}` the cluster's folder; other
    names are what the test remembered in `cluster.extra_env`."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "dir":
            return str(cluster.everybody[0].directory)
        if name in cluster.extra_env:
            return cluster.extra_env[name]
        if url := re.fullmatch(r"(m\d)url", name):
            return next(m.client_url for m in cluster.everybody if m.name == url[1])
        return member_id(cluster, name)

    return re.sub(r"\{(\w+)\}", value, line)


def member_id(cluster: StoreCluster, name: str) -> str:
    user = cluster.extra_env.get("user")
    arguments = [user] if user else []
    listed = cluster.json(*arguments, "member", "list", member=cluster.members[0])["members"]
    return f"{next(one['ID'] for one in listed if one.get('name') == name):x}"


def lead_by_first(cluster: StoreCluster) -> None:
    cluster.make_leader(cluster.members[0])


def normal(cluster: StoreCluster, shown: str) -> str:
    """Placeholders for what must differ. Lists of members are sorted: etcd orders by id."""
    for member in cluster.everybody:
        for url, name in ((member.client_url, "CLIENT"), (member.peer_url, "PEER")):
            shown = shown.replace(url, f"{name}-{member.name}")
        shown = re.sub(rf"\b{member.client_port}\b", f"PORT-{member.name}", shown)
    for name, value in cluster.extra_env.items():
        if value.startswith("https://"):
            shown = shown.replace(value, name.upper())
    shown = shown.replace(str(cluster.everybody[0].directory), "DIR")
    # Where the client panicked is the same, what was in its registers is not.
    shown = re.sub(r"\ngoroutine \d+ .*", "\npanic", shown, flags=re.DOTALL)
    for untranslated, translated in _UNTRANSLATED.items():
        shown = shown.replace(f"rpc error: code = Unknown desc = {untranslated}", translated)
    lines = [_masked(one) for one in shown.splitlines()]
    if re.search(r"(PEER|CLIENT)-", shown):
        lines = sorted(re.sub(r"[ -]*\|[ |]*|[+-]{3,}", " | ", one) for one in lines)
    # A second or so may pass on one of them.
    return re.sub(r'(remaining\(|"ttl": |"TTL" : )29\d', r"\g<1>29x", "\n".join(lines))


def _masked(line: str) -> str:
    line = re.sub(r"\bmemberID:\d+", "memberID:N", line)
    if line.startswith(("{", "[")):
        try:
            return json.dumps(_masked_json(json.loads(line)), sort_keys=True)
        except ValueError:
            pass
    line = re.sub(r" *\b[0-9a-f]{13,16}\b", " ID", line)
    if keys := re.search(r"attached keys\(\[(.*)\]\)", line):
        line = line.replace(keys[1], " ".join(sorted(keys[1].split())))
    line = _VERSION.sub("VERSION", line)
    line = re.sub(r"\b\d+(\.\d+)? ?[kMG]?B\b", "SIZE", line)
    line = re.sub(r"\b[\d.]+[µmn]s\b", "TIME", line)
    line = re.sub(r"^\d{4}-\d\d-\d\d [\d:.]+ ", "", line)
    line = re.sub(r"sha256 \[[\d ]+\]|got \[[\d ]+\]", "SUM", line)
    # `snapshot status`: checksum, revision, keys, size.
    line = re.sub(
        r"^(\| +)?[0-9a-f]{5,8}(,| \|)(?= +\d+(?:,| \|) +\d+(?:,| \|) +SIZE)", r"\1HASH\2", line
    )
    # `endpoint status` and `endpoint hashkv`: term and log positions, and the checksum.
    line = re.sub(r"((?:true|false)(?:,| \|)) +\d+(,| \|) +\d+(,| \|) +\d+", r"\1 N\2 N\3 N", line)
    line = re.sub(r"(CLIENT-m\d(?:,| +\|)) +\d+(?= \||$)", r"\1 N", line)
    if line.startswith("ETCD_INITIAL_CLUSTER="):
        line = ",".join(sorted(re.sub('^.*="|"$', "", line).split(",")))
    found = re.match(r'"(\w+)" ?: ', line)
    if found and found[1] in _OWN:
        return f'"{found[1]}" : N'
    return line


def _masked_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: "N" if key in _OWN and not isinstance(one, dict | list) else _masked_json(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        masked = [_masked_json(one) for one in value]
        # Members come in the order of their ids, a lease's keys in none.
        return (
            sorted(masked, key=str) if not masked or "mod_revision" not in str(masked) else masked
        )
    return _VERSION.sub("VERSION", value) if isinstance(value, str) else value


@contextmanager
def running(cluster: StoreCluster, line: str, member: StoreProcess) -> Iterator[Running]:
    """An etcdctl that goes on until it is told to stop. Killed at the end, whatever happens."""
    folder = member.directory / "running"
    folder.mkdir(exist_ok=True)
    out, err = folder / f"{time.monotonic_ns()}.out", folder / f"{time.monotonic_ns()}.err"
    command = cluster.etcdctl_command(*shlex.split(filled(cluster, line)), members=[member])
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=ENVIRONMENT,
        )
    try:
        yield Running(cluster, line, process, out, err)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


@dataclass
class Running:
    cluster: StoreCluster
    line: str
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def said(self) -> str:
        return self.out.read_text(errors="backslashreplace")

    def wait_for(self, *words: str, seconds: float = 60) -> None:
        wait_until(
            lambda: all(word in self.said() for word in words),
            seconds,
            f"etcdctl {self.line} to say {words}: {self.said()!r} {self.err.read_text()!r}",
        )

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def hang_up(self) -> None:
        """Nothing more is typed."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self) -> str:
        """What it had said when it ended by itself."""
        code = self.process.wait(timeout=60)
        return rendered(self.cluster, self.line, code, self.out.read_bytes(), self.err.read_bytes())

    def interrupted(self) -> str:
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def killed(self) -> str:
        self.process.kill()
        return self.ended()
