"""The pure half of local machines: names, cgroup layouts, subnets, process identity."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.providers.base import LabNetwork, LabSpec, MachineSpec, UnknownMachine
from provision.providers.local import cgroupfs, checks, names, network, processes
from provision.providers.local.cgroups import (
    CgroupLayout,
    Hierarchy,
    MachineSize,
    limits,
    links_inside,
    mounts_inside,
    parse_layout,
)
from provision.providers.local.subnets import TakenSubnet, routes_taken, subnet_problems

LAB = LabSpec(
    name="t",
    network=LabNetwork("10.213.9.0/24", "10.213.9.1", "10.213.9.254"),
    machines=(
        MachineSpec("m1", "master", "10.213.9.11", 2, 1024),
        MachineSpec("w1", "worker", "10.213.9.21", 1, 512),
    ),
    state_dir=Path("/nowhere/t"),
    ssh_public_key="ssh-ed25519 AAAA me",
    ssh_private_key=Path("/nowhere/key"),
)

HYBRID = """\
30 25 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
34 30 0:30 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
35 30 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
36 30 0:32 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
37 30 0:33 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
38 25 0:27 / /mnt/elsewhere rw,relatime - cgroup cgroup rw,cpu,cpuacct
"""
PURE = """\
24 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
"""


class TestCgroupLayout:
    def test_hybrid_hosts(self) -> None:
        layout = parse_layout(HYBRID, "hugetlb\n")
        assert layout.kind == "hybrid"
        assert layout.missing() == []
        cpu = layout.carrying("cpu")
        assert cpu is not None
        assert cpu.options == "cpu,cpuacct"
        assert cpu.machine("t", "m1") == Path("/sys/fs/cgroup/cpu,cpuacct/mu-t/m1")
        systemd = layout.carrying("name=systemd")
        assert systemd is not None
        assert systemd.options == "none,name=systemd"
        assert layout.unified is not None
        assert len(layout.hierarchies) == 7

    def test_pure_version_2_hosts(self) -> None:
        layout = parse_layout(PURE, "cpuset cpu io memory hugetlb pids rdma misc\n")
        assert layout.kind == "v2"
        assert layout.missing() == []
        assert [(m.target, m.kind) for m in mounts_inside(layout)] == [
            ("/sys/fs/cgroup", "cgroup2")
        ]
        assert links_inside(layout) == {}

    def test_combined_controllers_keep_their_short_names_inside(self) -> None:
        links = links_inside(parse_layout(HYBRID, ""))
        assert links == {
            "/sys/fs/cgroup/cpu": "cpu,cpuacct",
            "/sys/fs/cgroup/cpuacct": "cpu,cpuacct",
        }

    @pytest.mark.parametrize(
        ("mountinfo", "v2", "missing"),
        [
            (PURE, "memory pids", ["cpu"]),
            (HYBRID.replace("name=systemd", "name=x"), "", ["name=systemd"]),
            ("", "", ["cpu", "memory", "devices", "freezer", "pids", "name=systemd"]),
        ],
    )
    def test_what_is_missing_is_named(self, mountinfo: str, v2: str, missing: list[str]) -> None:
        assert parse_layout(mountinfo, v2).missing() == missing

    def test_limits_of_version_1(self) -> None:
        size = MachineSize(1.5, 512)
        cpu = Hierarchy(Path("/c"), 1, frozenset({"cpu"}))
        assert list(limits(cpu, size)) == [
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "150000"),
            ("cpu.shares", "1536"),
        ]
        memory = Hierarchy(Path("/m"), 1, frozenset({"memory"}))
        assert dict(limits(memory, size))["memory.limit_in_bytes"] == "536870912"

    def test_limits_of_version_2(self) -> None:
        unified = Hierarchy(Path("/u"), 2, frozenset({"cpu", "memory", "pids"}))
        assert list(limits(unified, MachineSize(0.5, 256, 512))) == [
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "50"),
            ("memory.max", "268435456"),
            ("memory.swap.max", "0"),
            ("pids.max", "512"),
        ]

    def test_a_bare_version_2_hierarchy_limits_nothing(self) -> None:
        unified = Hierarchy(Path("/u"), 2, frozenset({"hugetlb"}))
        assert list(limits(unified, MachineSize(0.5, 256))) == []

    def test_version_2_hands_controllers_on_level_by_level(self, tmp_path: Path) -> None:
        """A plain directory stands in for cgroupfs: what is written where is the point."""
        for directory in (tmp_path, tmp_path / "mu-t", tmp_path / "mu-t/m1"):
            directory.mkdir(exist_ok=True)
            (directory / "cgroup.controllers").write_text("cpu memory pids hugetlb\n")
            (directory / "cgroup.subtree_control").write_text("memory\n")
        unified = Hierarchy(tmp_path, 2, frozenset({"cpu", "memory", "pids"}))
        layout = CgroupLayout((unified,))
        (tmp_path / "mu-t/m1/memory.swap.max").touch()
        cgroupfs.make(layout, "t", "m1", MachineSize(1, 64, pids=99))
        for directory in (tmp_path, tmp_path / "mu-t", tmp_path / "mu-t/m1"):
            assert (directory / "cgroup.subtree_control").read_text() == "+cpu +pids"
        assert (tmp_path / "mu-t/m1/memory.max").read_text() == "67108864"
        assert (tmp_path / "mu-t/m1/memory.swap.max").read_text() == "0"
        assert (tmp_path / "mu-t/m1/pids.max").read_text() == "99"
        inside = tmp_path / "mu-t/m1/root/cgroup.procs"
        assert cgroupfs.procs_files(layout, "t", "m1") == [str(inside)]

    @pytest.mark.parametrize(
        ("line", "within"),
        [
            ("9:memory:/mu-t/m1", True),
            ("0::/mu-t/m1/system.slice/x", True),
            ("9:memory:/mu-t/m10", False),
            ("1:name=systemd:/", False),
        ],
    )
    def test_membership(self, line: str, within: bool) -> None:
        assert cgroupfs.is_within(line, "/mu-t/m1") is within


class TestNames:
    def test_the_mac_follows_from_the_address(self) -> None:
        assert names.mac_address("10.200.0.21") == "02:1a:0a:c8:00:15"

    @given(st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True))
    def test_link_names_fit_the_kernel(self, name: str) -> None:
        for link in (names.host_link(name), names.machine_port(name)):
            assert 0 < len(link) <= names.LINK_NAME_MAX

    def test_long_names_stay_apart(self) -> None:
        first, second = "a-rather-long-lab-name-1", "a-rather-long-lab-name-2"
        assert names.host_link(first) != names.host_link(second)
        assert names.host_link("default") == "mu-default"

    def test_a_machine_is_not_another_lab(self) -> None:
        assert names.machine_netns("a", "b") != names.lab_netns("a-b")
        assert names.machine_of_netns("a", names.machine_netns("a", "b")) == "b"
        assert names.machine_of_netns("a", names.machine_netns("a-b", "c")) is None
        assert names.machine_of_netns("a", names.lab_netns("a")) is None

    def test_machines_are_chosen_by_name(self) -> None:
        assert [m.name for m in LAB.chosen(["w1", "m1", "w1"])] == ["m1", "w1"]
        assert LAB.chosen(None) == LAB.machines
        assert LAB.chosen([]) == ()
        with pytest.raises(UnknownMachine, match='lab "t" has no machine "x"'):
            LAB.chosen(["x"])


class TestSubnets:
    def problems(self, lab: LabSpec, *taken: TakenSubnet) -> list[str]:
        return [str(problem) for problem in subnet_problems(lab, taken)]

    def test_a_sound_lab_has_none(self) -> None:
        assert self.problems(LAB, TakenSubnet(IPv4Network("10.213.8.0/24"), "x")) == []

    @pytest.mark.parametrize("other", ["10.213.9.0/24", "10.0.0.0/8", "10.213.9.128/25"])
    def test_overlap_in_any_direction(self, other: str) -> None:
        found = self.problems(LAB, TakenSubnet(IPv4Network(other), 'lab "other"'))
        assert found == [
            f'network.subnet 10.213.9.0/24 overlaps {other}, lab "other";'
            " choose another subnet in the lab file"
        ]

    def test_routes_but_the_default_and_the_labs_own(self) -> None:
        routes = json.loads("""[
            {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
            {"dst": "192.0.2.0/24", "dev": "eth0"},
            {"dst": "192.0.2.7", "dev": "tun0"},
            {"dst": "10.213.9.0/24", "dev": "mu-t"},
            {"type": "unreachable", "dst": "10.9.0.0/16"}]""")
        taken = list(routes_taken(routes, "mu-t"))
        assert [str(t.subnet) for t in taken] == ["192.0.2.0/24", "192.0.2.7/32", "10.9.0.0/16"]

    def test_addresses_must_be_in_the_subnet_and_unique(self) -> None:
        first, second = LAB.machines
        stray = replace(LAB, machines=(replace(first, address="10.1.1.1"), second))
        assert "10.1.1.1 is not in 10.213.9.0/24" in self.problems(stray)[0]
        twice = replace(LAB, machines=(first, replace(second, address=first.address)))
        assert 'machine "w1": 10.213.9.11 is also machine "m1"' in self.problems(twice)[0]
        gateway = replace(LAB, machines=(replace(first, address=LAB.network.gateway), second))
        assert "is also network.gateway" in self.problems(gateway)[0]

    def test_a_bad_subnet_is_named(self) -> None:
        bad = replace(LAB, network=replace(LAB.network, subnet="10.213.9.7/24"))
        assert "network.subnet 10.213.9.7/24" in self.problems(bad)[0]


class TestNetworkCommands:
    """`ip -batch` parses them; whether they work together, the lab tests show."""

    def test_the_machines_cable(self) -> None:
        commands = list(network.port_commands("t", LAB.machines[1]))
        assert commands[0] == (
            "link add v-w1 type veth peer name eth0 address 02:1a:0a:d5:09:15 netns mu-t.w1"
        )
        uplink = list(network.uplink_commands(LAB.network, LAB.machines[1]))
        assert "addr add 10.213.9.21/24 dev eth0" in uplink
        assert uplink[-1] == "route add default via 10.213.9.1"

    def test_the_host_gets_one_address_and_no_other_route(self) -> None:
        commands = list(network.host_commands(LAB))
        assert "addr add 10.213.9.254/24 dev mu-t" in commands
        assert not [c for c in commands if c.startswith("route")]


class TestProcessIdentity:
    def test_names_with_brackets_and_spaces(self) -> None:
        stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9"
        assert processes.parse_stat(stat) == ("S", 4711)

    def test_this_process_is_itself_and_no_other(self) -> None:
        record = processes.describe(os.getpid())
        assert processes.is_alive(record)
        assert not processes.is_alive({**record, "start_ticks": record["start_ticks"] + 1})
        assert not processes.is_alive({**record, "boot_id": "another"})
        assert not processes.is_alive(None)

    def test_a_zombie_is_dead(self) -> None:
        child = subprocess.Popen(["true"], stdout=subprocess.DEVNULL)
        record = processes.describe(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not processes.is_alive(record)
        child.wait()
        assert processes.open_alive(record) is None

    def test_records_survive_and_garbage_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "process.json"
        assert processes.read_record(path) is None
        record = processes.describe(os.getpid())
        processes.write_record(path, record)
        assert processes.read_record(path) == record
        path.write_text('{"pid": 1')
        assert processes.read_record(path) is None


class TestHostFindings:
    def test_capabilities(self) -> None:
        assert checks.effective_capabilities("Name:\tx\nCapEff:\t0000000000200000\n") == 1 << 21

    def test_how_to_get_a_controller(self) -> None:
        directory = "/sys/fs/cgroup/systemd"
        assert checks.cgroup_fix("hybrid", "name=systemd") == (
            f"mkdir -p {directory} && mount -t cgroup -o none,name=systemd systemd {directory}"
        )
        assert "-o cpu cpu /sys/fs/cgroup/cpu" in checks.cgroup_fix("v1", "cpu")
        assert "cgroup_disable=cpu" in checks.cgroup_fix("v2", "cpu")

    def test_the_file_system_of_a_path(self) -> None:
        mountinfo = (
            "1 0 8:1 / / rw - overlay overlay rw\n"
            "2 1 8:2 / /var rw - ext4 /dev/x rw\n"
            "3 1 8:3 / /var/lib/other rw - xfs /dev/y rw\n"
        )
        assert checks.file_system_of(Path("/var/lib/muster-lab"), mountinfo) == "ext4"
        assert checks.file_system_of(Path("/srv"), mountinfo) == "overlay"
        assert checks.file_system_of(Path("/var/lib/other"), mountinfo) == "xfs"

    async def test_without_root_one_clear_problem(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        (problem,) = await checks.host_problems(LAB)
        assert "need root" in problem.text
        assert problem.fix == "run the command as root"
