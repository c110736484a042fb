"""Local machines are real: they boot, keep their identity, see nothing of the host, and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provision.providers.base import (
    LabBusy,
    LabNetwork,
    LabSpec,
    MachineSpec,
    MachineState,
    ProviderError,
    SshTarget,
    Unprepared,
)
from provision.providers.identity import new_host_key
from provision.providers.local import cgroupfs, kernel, processes
from provision.providers.local.names import host_link, lab_netns, machine_netns
from provision.providers.local.provider import LocalProvider
from provision.providers.local.state import LabPaths
from provision.providers.lock import locked

pytestmark = [
    pytest.mark.root,
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="making machines needs root"),
]

NETWORK = LabNetwork("10.213.7.0/24", "10.213.7.1", "10.213.7.254")
M1 = MachineSpec("m1", "master", "10.213.7.11", cpus=1, memory_mib=768)
W1 = MachineSpec("w1", "worker", "10.213.7.21", cpus=0.5, memory_mib=256, disk_mib=256)
PROVIDER = LocalProvider()


def make_spec(directory: Path, name: str, *machines: MachineSpec) -> LabSpec:
    private, public = new_host_key()
    key = directory / "id_ed25519"
    key.touch(0o600)
    key.write_text(private)
    return LabSpec(name, NETWORK, machines, directory / name, public, key)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSpec]:
    """A lab of two machines for all tests here; the host must be the same before and after."""
    spec = make_spec(tmp_path_factory.mktemp("labs"), "t-mach", M1, W1)
    before = host_state()
    asyncio.run(PROVIDER.create(spec))
    try:
        yield spec
    finally:
        asyncio.run(PROVIDER.destroy(spec))
    assert differences(before, host_state()) == []
    assert not spec.state_dir.exists()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[LabSpec]:
    """A lab that does not exist yet, and whose leftovers are removed whatever happens."""
    before = host_state()
    spec = make_spec(tmp_path, "t-mach2", M1, W1)
    network = LabNetwork("10.213.8.0/24", "10.213.8.1", "10.213.8.254")
    machines = (replace(M1, address="10.213.8.11"), replace(W1, address="10.213.8.21"))
    spec = replace(spec, network=network, machines=machines)
    try:
        yield spec
    finally:
        asyncio.run(PROVIDER.destroy(spec))
    assert differences(before, host_state()) == []
    assert not spec.state_dir.exists()


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """What our labs left or took. Only /run/netns is shared with what others make meanwhile."""
    left = [f"left: {k}: {x}" for k in after for x in after[k] if x not in before[k]]
    gone = [f"gone: {k}: {x}" for k in before for x in before[k] if x not in after[k]]
    alone = not before["netns"] + after["netns"]
    ours = re.compile(r"t-mach|t-users|10\.213\." + (r"|/run/.*netns" if alone else ""))
    return [line for line in left + gone if ours.search(line)]


def host_state() -> dict[str, list[str]]:
    """What a lab touches on its host."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    cgroups = subprocess.run(
        ["find", "/sys/fs/cgroup", "-maxdepth", "3", "-type", "d"], capture_output=True, text=True
    )
    return {
        "netns": output("ip", "netns"),
        "links": [link["ifname"] for link in json.loads("".join(output("ip", "-j", "link")))],
        "addresses": output("ip", "-br", "address"),
        "routes": output("ip", "route", "show", "table", "all"),
        "rules": output("iptables-save", "-t", "nat") + output("iptables-save", "-t", "filter"),
        "loops": output("losetup", "--list", "--noheadings", "--output", "BACK-FILE"),
        "mounts": sorted(line.split(" ", 3)[3] for line in mounts),
        "cgroups": sorted(line for line in cgroups.stdout.splitlines()),
        "run": sorted(str(path) for path in Path("/run").glob("*")),
        "forwarding": [Path("/proc/sys/net/ipv4/ip_forward").read_text()],
    }


def output(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("#")]


def ssh(lab: LabSpec, name: str, command: str, timeout: float = 30) -> tuple[int, str]:
    """Run `command` on a machine. The host key is checked against the one promised."""
    target = asyncio.run(PROVIDER.ssh_target(lab, name))
    known = lab.state_dir.parent / f"known-{lab.name}-{name}"
    known.write_text(target.known_hosts_line + "\n")
    done = subprocess.run(
        [*ssh_command(target, known), command],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


def ssh_command(target: SshTarget, known: Path) -> list[str]:
    options = [
        f"UserKnownHostsFile={known}",
        "StrictHostKeyChecking=yes",
        "BatchMode=yes",
        "ConnectTimeout=5",
        "LogLevel=ERROR",
    ]
    flags = [part for option in options for part in ("-o", option)]
    return ["ssh", "-F", "none", "-i", str(target.key_file), *flags, f"{target.user}@{target.host}"]


def must(lab: LabSpec, name: str, command: str) -> str:
    code, text = ssh(lab, name, command)
    assert code == 0, text
    return text.strip()


def call(coroutine: object) -> None:
    asyncio.run(coroutine)


def test_systemd_runs_and_starts_nothing_of_the_host(lab: LabSpec) -> None:
    for machine in lab.machines:
        assert must(lab, machine.name, "systemctl is-system-running --wait") == "running"
        services = must(
            lab,
            machine.name,
            "systemctl list-units --type=service --state=running --plain --no-legend"
            " | cut -d' ' -f1",
        )
        assert services.split() == ["ssh.service", "systemd-journald.service"]
        assert must(lab, machine.name, "hostname") == machine.name
        assert must(lab, machine.name, "id -un") == "root"


def test_the_journal_works(lab: LabSpec) -> None:
    must(lab, "w1", "logger -t probe it-is-logged; journalctl --sync")
    assert "it-is-logged" in must(lab, "w1", "journalctl -b -t probe -o cat")


def test_host_processes_are_not_visible(lab: LabSpec) -> None:
    marker = f"60{os.getpid()}"
    sleeper = subprocess.Popen(["sleep", marker])
    try:
        listing = must(lab, "m1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "systemd" in listing
        assert marker not in listing
    finally:
        sleeper.kill()
        sleeper.wait()


def test_host_files_are_not_visible(lab: LabSpec, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("host only")
    code, _ = ssh(lab, "m1", f"cat {tmp_path}/secret")
    assert code != 0
    assert must(lab, "m1", "ls /home /root /mnt /srv /opt -1A").split() == [
        "/home:",
        "/mnt:",
        "/opt:",
        "/root:",
        ".bashrc",
        ".ssh",
        "/srv:",
    ]
    assert must(lab, "m1", "cat /etc/machine-id") != host_machine_id()
    # The way out that a forgotten old root would leave open.
    assert "/home:" not in must(lab, "m1", "ls /proc/1/root/../../.. -1")


def host_machine_id() -> str:
    with contextlib.suppress(FileNotFoundError):
        return Path("/etc/machine-id").read_text().strip()
    return ""


def test_host_disks_cannot_be_read(lab: LabSpec) -> None:
    for line in Path("/proc/partitions").read_text().splitlines()[2:]:
        major, minor, *_ = line.split()
        code, text = ssh(
            lab,
            "m1",
            f"rm -f /root/disk; mknod /root/disk b {major} {minor} &&"
            " dd if=/root/disk of=/dev/null bs=512 count=1; code=$?; rm -f /root/disk; exit $code",
        )
        assert code != 0, f"{line} could be read"
        assert "not permitted" in text


def test_host_cgroups_are_not_visible(lab: LabSpec) -> None:
    """A machine's cgroup root is its own node: no lab beside it, none of the host's above."""
    assert "t-mach" not in must(lab, "m1", "cat /proc/1/cgroup; find /sys/fs/cgroup -type d")
    assert must(lab, "m1", "cat /proc/1/cgroup | grep -v ':/\\(init.scope\\)\\?$' | wc -l") == "0"


def test_host_knobs_cannot_be_turned(lab: LabSpec) -> None:
    for command in (
        "sysctl -qw vm.swappiness=1",
        "sysctl -qw kernel.core_pattern=/x",
        "date -s 2020-01-01",
        "echo b > /proc/sysrq-trigger",
        "dmesg",
        "touch /var/stuck && chattr +i /var/stuck",
    ):
        code, _ = ssh(lab, "m1", command)
        assert code != 0, command
    before = Path("/proc/sys/net/ipv4/conf/all/route_localnet").read_text()
    must(lab, "m1", "sysctl -qw net.ipv4.conf.all.route_localnet=1")
    assert Path("/proc/sys/net/ipv4/conf/all/route_localnet").read_text() == before


def test_what_a_machine_installs_stays_in_it(lab: LabSpec) -> None:
    must(lab, "m1", "echo mine > /usr/bin/only-on-m1; rm /usr/bin/env")
    assert not Path("/usr/bin/only-on-m1").exists()
    assert Path("/usr/bin/env").exists()
    assert ssh(lab, "w1", "test -e /usr/bin/only-on-m1")[0] != 0
    must(lab, "w1", "test -x /usr/bin/env")


CONTAINER = textwrap.dedent("""\
    set -e
    base=/var/lib/probe-{runtime}
    mkdir -p $base/lower/bin $base/lower/proc $base/lower/dev $base/lower/sys
    mkdir -p $base/upper $base/work $base/rootfs
    cp "$(command -v busybox)" $base/lower/bin/sh
    mount -t overlay overlay \
        -o lowerdir=$base/lower,upperdir=$base/upper,workdir=$base/work $base/rootfs
    cd $base
    {runtime} spec
    python3 - <<'END'
    import json
    spec = json.load(open("config.json"))
    spec["process"] |= {{"args": ["sh", "-c", "echo inside > /made; echo ran"], "terminal": False}}
    spec["root"] = {{"path": "rootfs", "readonly": False}}
    spec["linux"] |= {{"resources": {{"memory": {{"limit": 41943040}}}}, "cgroupsPath": "/pods/x"}}
    json.dump(spec, open("config.json", "w"))
    END
    {runtime} run probe-{runtime}
    cat $base/upper/made
    umount $base/rootfs
""")


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_containers_run_inside(lab: LabSpec, runtime: str) -> None:
    assert must(lab, "m1", CONTAINER.format(runtime=runtime)).split() == ["ran", "inside"]


def test_packet_filter_and_tunnels_work_inside(lab: LabSpec) -> None:
    must(lab, "m1", "iptables -t nat -A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE")
    assert "10.244.0.0/16" in must(lab, "m1", "iptables-save -t nat")
    assert "10.244.0.0/16" not in must(lab, "w1", "iptables-save -t nat")
    must(lab, "m1", "ip tuntap add dev tap0 mode tap && ip link del tap0")
    must(lab, "m1", "ip netns add pod && ip netns exec pod ip link set lo up && ip netns del pod")
    must(lab, "m1", "iptables -t nat -F")


def test_machines_reach_each_other_by_name_and_nobody_else(lab: LabSpec) -> None:
    greeting = "exec 3<>/dev/tcp/{}/22 && head -c 4 <&3"
    assert must(lab, "m1", f"bash -c '{greeting.format('w1')}'") == "SSH-"
    assert must(lab, "w1", f"bash -c '{greeting.format('m1')}'") == "SSH-"
    # "Network is unreachable" comes at once; a timeout would stall everything that tries.
    code, text = ssh(lab, "w1", f"timeout 3 bash -c '{greeting.format('198.51.100.7')}'")
    assert code == 1
    assert "unreachable" in text


def test_a_machine_has_its_size_and_no_more(lab: LabSpec) -> None:
    size = json.loads(must(lab, "w1", "cat /etc/muster/machine.json"))
    assert (size["cpus"], size["memory_mib"], size["disk_mib"]) == (0.5, 256, 256)
    code, _ = ssh(lab, "w1", "exec python3 -c 'len(bytearray(400 * 1024 * 1024))'")
    assert code != 0, "400 MiB fitted into 256"
    blocks = must(lab, "w1", "df --output=size -m / | tail -1")
    assert 200 < int(blocks) <= 256
    code, text = ssh(lab, "w1", "head -c 300M /dev/zero > /var/full; c=$?; rm /var/full; exit $c")
    assert code != 0
    assert "No space left" in text
    must(lab, "w1", "touch /var/room-again")


def identity(lab: LabSpec, name: str) -> tuple[str, ...]:
    target = asyncio.run(PROVIDER.ssh_target(lab, name))
    inside = must(
        lab,
        name,
        "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /sys/class/net/eth0/address",
    )
    return (target.host, target.host_key, inside)


def test_identity_and_disk_survive_power_off(lab: LabSpec) -> None:
    before = identity(lab, "w1")
    must(
        lab,
        "w1",
        "echo kept > /var/kept; echo kept > /etc/kept; echo kept > /usr/kept;"
        " iptables -A INPUT -p tcp --dport 81 -j DROP; sync",
    )
    call(PROVIDER.power_off(lab, ["w1"]))
    states = asyncio.run(PROVIDER.states(lab))
    assert states == {"m1": MachineState.RUNNING, "w1": MachineState.STOPPED}
    call(PROVIDER.start(lab, ["w1"]))
    assert identity(lab, "w1") == before
    assert must(lab, "w1", "cat /var/kept /etc/kept /usr/kept").split() == ["kept"] * 3
    assert "--dport 81" not in must(lab, "w1", "iptables-save")
    assert must(lab, "w1", "systemctl is-system-running --wait") == "running"


def test_a_machine_without_power_is_silent(lab: LabSpec) -> None:
    """Nobody is told: no FIN or RST for connections that were open, no answer to new ones."""
    with socket.create_connection((W1.address, 22), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"
        connection.recv(1024)
        call(PROVIDER.power_off(lab, ["w1"]))
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    with pytest.raises((TimeoutError, OSError)) as refused:
        socket.create_connection((W1.address, 22), timeout=0.5)
    assert not isinstance(refused.value, ConnectionRefusedError)
    call(PROVIDER.start(lab, ["w1"]))
    assert must(lab, "w1", "echo back") == "back"


def test_stop_is_orderly(lab: LabSpec) -> None:
    must(
        lab,
        "w1",
        "systemd-run --quiet --unit=farewell --property=ExecStop='touch /var/said-goodbye'"
        " sleep 1000",
    )
    call(PROVIDER.stop(lab, ["w1"]))
    assert asyncio.run(PROVIDER.states(lab))["w1"] == MachineState.STOPPED
    call(PROVIDER.start(lab, ["w1"]))
    must(lab, "w1", "test -e /var/said-goodbye")


def test_pause_freezes_and_resume_thaws(lab: LabSpec) -> None:
    must(lab, "w1", "touch /tmp/in-memory")
    call(PROVIDER.pause(lab, ["w1"]))
    assert asyncio.run(PROVIDER.states(lab))["w1"] == MachineState.PAUSED
    with socket.create_connection((W1.address, 22), timeout=5) as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(4)
    call(PROVIDER.resume(lab, ["w1"]))
    assert asyncio.run(PROVIDER.states(lab))["w1"] == MachineState.RUNNING
    must(lab, "w1", "test -e /tmp/in-memory")


def test_a_paused_machine_can_be_powered_off_or_stopped_or_started(lab: LabSpec) -> None:
    for verb in (PROVIDER.power_off, PROVIDER.stop):
        call(PROVIDER.pause(lab, ["w1"]))
        call(verb(lab, ["w1"]))
        assert asyncio.run(PROVIDER.states(lab))["w1"] == MachineState.STOPPED
        call(PROVIDER.start(lab, ["w1"]))
    call(PROVIDER.pause(lab, ["w1"]))
    call(PROVIDER.start(lab, ["w1"]))
    assert must(lab, "w1", "echo thawed") == "thawed"


def test_verbs_are_idempotent(lab: LabSpec) -> None:
    record = LabPaths(lab.state_dir).machine("w1").process
    before = record.read_text()
    call(PROVIDER.create(lab))
    call(PROVIDER.start(lab))
    call(PROVIDER.resume(lab))
    assert record.read_text() == before, "a running machine was booted anew"
    call(PROVIDER.stop(lab, ["w1"]))
    call(PROVIDER.stop(lab, ["w1"]))
    call(PROVIDER.power_off(lab, ["w1"]))
    call(PROVIDER.create(lab))
    assert must(lab, "w1", "echo up") == "up"


def test_the_lab_comes_back_after_the_host_rebooted(lab: LabSpec) -> None:
    """A reboot takes processes, cgroups and namespaces, and leaves only the disk."""
    before = {m.name: identity(lab, m.name) for m in lab.machines}
    must(lab, "m1", "echo kept > /var/kept")
    forget_everything_but_the_disk(lab)
    assert set(asyncio.run(PROVIDER.states(lab)).values()) == {MachineState.STOPPED}
    call(PROVIDER.start(lab))
    assert {m.name: identity(lab, m.name) for m in lab.machines} == before
    assert must(lab, "m1", "cat /var/kept") == "kept"


def forget_everything_but_the_disk(lab: LabSpec) -> None:
    layout = cgroupfs.host_layout()

    async def kill_all() -> None:
        for machine in lab.machines:
            await cgroupfs.kill(layout, lab.name, machine.name)
        await cgroupfs.remove_lab(layout, lab.name)

    records = {m: LabPaths(lab.state_dir).machine(m.name).process for m in lab.machines}
    old = {m: json.loads(path.read_text()) for m, path in records.items()}
    asyncio.run(kill_all())
    for machine in lab.machines:
        output("ip", "netns", "del", machine_netns(lab.name, machine.name))
        # The pid now belongs to somebody else, in another boot.
        stale = old[machine] | {"pid": os.getpid(), "boot_id": "another"}
        records[machine].write_text(json.dumps(stale))
    output("ip", "link", "del", host_link(lab.name))
    output("ip", "netns", "del", lab_netns(lab.name))


def test_a_recycled_pid_is_left_alone(lab: LabSpec) -> None:
    call(PROVIDER.power_off(lab, ["w1"]))
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        record = processes.describe(bystander.pid)
        record["start_ticks"] -= 1
        processes.write_record(LabPaths(lab.state_dir).machine("w1").process, record)
        assert asyncio.run(PROVIDER.states(lab))["w1"] == MachineState.STOPPED
        call(PROVIDER.stop(lab, ["w1"]))
        call(PROVIDER.power_off(lab, ["w1"]))
        call(PROVIDER.start(lab, ["w1"]))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_machine_can_be_added(lab: LabSpec) -> None:
    added = MachineSpec("w2", "worker", "10.213.7.22", 0.5, 256)
    larger = replace(lab, machines=(*lab.machines, added))
    record = LabPaths(lab.state_dir).machine("w1").process.read_text()
    call(PROVIDER.create(larger))
    assert must(larger, "w2", "systemctl is-system-running --wait") == "running"
    assert LabPaths(lab.state_dir).machine("w1").process.read_text() == record


def test_a_machine_that_does_not_answer_is_named(
    lab: LabSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provision.providers.local.waiting._BOOT_SECONDS", 1.0)
    must(lab, "m1", "systemctl disable ssh.service 2>/dev/null")
    call(PROVIDER.stop(lab, ["m1"]))
    with pytest.raises(ProviderError, match=r'"m1" does not answer on 10\.213\.7\.11:22'):
        call(PROVIDER.start(lab, ["m1"]))
    wants = "disk/root/etc/systemd/system/multi-user.target.wants/ssh.service"
    link = LabPaths(lab.state_dir).machine("m1").directory / wants
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("/etc/systemd/system/ssh.service")
    call(PROVIDER.power_off(lab, ["m1"]))
    call(PROVIDER.start(lab, ["m1"]))


def test_a_full_disk_is_found_before_anything_is_made(empty: LabSpec) -> None:
    place = empty.state_dir.parent / "small"
    place.mkdir()
    kernel.mount("tmpfs", str(place), "tmpfs", options="size=64m")
    try:
        with pytest.raises(Unprepared, match=r"64 MiB free, and 2 machines need 1024; make room"):
            call(PROVIDER.create(replace(empty, state_dir=place / "lab")))
        assert not list(place.iterdir())
    finally:
        kernel.unmount(str(place))


async def test_one_command_at_a_time(lab: LabSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provision.providers.lock._WAIT_SECONDS", 0.2)
    async with locked(lab):
        with pytest.raises(LabBusy, match="t-mach"):
            await PROVIDER.stop(lab)


async def test_a_second_lab_may_not_take_the_same_subnet(lab: LabSpec, empty: LabSpec) -> None:
    clashing = replace(empty, network=NETWORK, machines=(M1,))
    with pytest.raises(Unprepared, match=r"10\.213\.7\.0/24 overlaps"):
        await PROVIDER.create(clashing)


async def test_labs_coexist(lab: LabSpec, empty: LabSpec) -> None:
    await PROVIDER.create(empty)
    assert set((await PROVIDER.states(empty)).values()) == {MachineState.RUNNING}
    await PROVIDER.destroy(empty)
    assert set((await PROVIDER.states(lab)).values()) == {MachineState.RUNNING}


async def test_a_failed_create_is_rolled_back(empty: LabSpec) -> None:
    """One machine too small to boot takes the other with it, and the network."""
    before = host_state()
    tiny = replace(empty.machines[1], memory_mib=1, disk_mib=None)
    with pytest.raises(ProviderError, match="w1"):
        await PROVIDER.create(replace(empty, machines=(empty.machines[0], tiny)))
    assert differences(before, host_state()) == []
    assert not empty.state_dir.exists()


async def test_a_failed_create_is_kept_on_request(empty: LabSpec) -> None:
    tiny = replace(empty.machines[1], memory_mib=1, disk_mib=None)
    broken = replace(empty, machines=(empty.machines[0], tiny))
    with pytest.raises(ProviderError):
        await PROVIDER.create(broken, retain=True)
    assert LabPaths(empty.state_dir).machine("w1").directory.exists()


CREATE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from provision.providers.base import LabNetwork, LabSpec, MachineSpec
from provision.providers.local.provider import LocalProvider
lab = {lab!r}
asyncio.run(LocalProvider().create(lab, lambda machine, text: print(text, flush=True)))
"""


@pytest.mark.parametrize("delay", [0.03, 0.06, 0.1, 0.2])
def test_destroy_removes_what_a_crash_left(empty: LabSpec, delay: float) -> None:
    """kill -9 at several moments of `create`; the fixture compares the host before and after."""
    plain = replace(empty, options={})
    source = CREATE.format(root=str(Path.cwd()), lab=plain).replace("PosixPath(", "Path(")
    creation = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.DEVNULL)
    wait_until(lambda: LabPaths(empty.state_dir).lab.exists())
    time.sleep(delay)  # the moment of the crash, not a wait for something
    creation.send_signal(signal.SIGKILL)
    creation.wait()
    call(PROVIDER.destroy(empty))
    assert set(asyncio.run(PROVIDER.states(empty)).values()) == {MachineState.ABSENT}


def wait_until(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def test_an_absent_lab(empty: LabSpec) -> None:
    """Destroying, stopping and asking are fine; what needs a machine says that there is none."""
    await PROVIDER.destroy(empty)
    await PROVIDER.stop(empty)
    await PROVIDER.power_off(empty)
    assert set((await PROVIDER.states(empty)).values()) == {MachineState.ABSENT}
    for verb in (PROVIDER.start, PROVIDER.pause):
        with pytest.raises(ProviderError, match='"m1" does not exist'):
            await verb(empty)
    with pytest.raises(ProviderError, match='no machine "nobody"'):
        await PROVIDER.power_off(empty, ["nobody"])
