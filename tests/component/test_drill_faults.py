"""Every fault ends: the drill is killed with SIGKILL at each step, and nothing of it is left.

Bare local machines with systemd and sshd; units of the lab's names that only sleep stand in for
its components. What is compared is the host's side (processes, cables, queues, rules) and the
machine's own (units, drop-ins, files).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drills.faults import ALL, tag
from drills.faults.flood_api import KUBECONFIG
from drills.faults.skew_clock import LIBRARY
from drills.heal import heal
from drills.journal import Journal, pending
from drills.lab import DrillLab, Unanswered, running_lab
from provision.identities import LabRecord
from provision.labfile.spec import Lab, Metadata, Spec
from provision.pki.authority import new_authority
from provision.pki.kubeconfig import kubeconfig_bytes
from provision.providers.base import LabNetwork, MachineSpec, Wire
from provision.providers.identity import new_host_key
from provision.providers.local.cgroupfs import host_layout
from provision.providers.local.names import BRIDGE, lab_netns, machine_port, slow_port
from provision.providers.local.provider import LocalProvider
from provision.state import Store, lab_spec, write_private

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="making machines needs root"),
]

ROOT = Path(__file__).parents[2]
NAME = "t-drill"
PATIENCE_SECONDS = 120.0
STEPS = ("acting", "injected", "healing")
# One machine for each step: they go side by side.
MACHINES = tuple(
    MachineSpec(f"w{n + 1}", "worker", f"10.213.9.{n + 21}", 0.5, 256, disk_mib=128)
    for n in range(len(STEPS))
)
UNIT = "[Service]\nExecStart=/usr/bin/sleep 86400\nRestart=always\nRestartSec=1\n"
SETTINGS = {
    "block-ports": ", ports: [8080]",
    "cpu-hog": ", workers: 1",
    "disk-full": ", leaveMebibytes: 8",
    "expire-certificate": ", component: kubelet",
    "flood-api": ", clients: 2",
    "inodes-full": ", leave: 100",
    "memory-hog": ", percent: 20",
    "pid-hog": ", processes: 20",
    "skew-clock": ", component: kubelet, seconds: 300",
    **{f"{verb}-component": ", component: kubelet" for verb in ("kill", "stop", "restart", "hang")},
}
# These need the lab's API; tests/lab has them.
WITH_API = {"kill-pods", "kill-containers", "drain"}
FAULTS = sorted({tag(kind) for kind in ALL} - WITH_API)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillLab]:
    """A lab of bare machines that the command line knows."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSTER_STATE_DIR", str(state))
        store = Store()
        directory = store.directory(NAME)
        private, public = new_host_key()
        directory.ssh_key.parent.mkdir(parents=True)
        directory.ssh_key.touch(0o600)
        directory.ssh_key.write_text(private)
        directory.ssh_key.with_suffix(".pub").write_text(public)
        record = LabRecord(
            lab=Lab(api_version="muster/v1", kind="Lab", metadata=Metadata(name=NAME),
                    spec=Spec(workers=len(MACHINES))),
            network=LabNetwork("10.213.9.0/24", "10.213.9.1", "10.213.9.254"),
            vip=None, machines=MACHINES,
        )  # fmt: skip
        store.save(record)
        provider, spec = LocalProvider(), lab_spec(record, directory)
        try:
            asyncio.run(provider.create(spec))
            made = running_lab(NAME)
            for machine in MACHINES:
                prepare(made, machine.name)
            yield made
        finally:
            asyncio.run(provider.destroy(spec))


def on(lab: DrillLab, machine: str, script: str) -> str:
    return asyncio.run(lab.run_on(machine, ["sh", "-c", script]))


def prepare(lab: DrillLab, machine: str) -> None:
    """Units with the names of the lab's, enabled as the lab's are."""
    for component in ("kubelet", "proxy"):
        path = f"/etc/systemd/system/muster-{component}.service"
        install = "[Install]\\nWantedBy=multi-user.target\\n"
        text = UNIT.replace("\n", "\\n") + install
        on(lab, machine, f"printf '{text}' > {path}")
    on(
        lab,
        machine,
        "systemctl daemon-reload; systemctl enable -q --now muster-kubelet muster-proxy",
    )
    # An identity for what acts with the kubelet's; nobody answers at this address.
    pair = new_authority("t-drill", datetime.now(UTC))
    write_private(lab.pki / "ca.crt", pair.cert)
    write_private(lab.pki / "ca.key", pair.key)
    conf = kubeconfig_bytes("t-drill", "https://127.0.0.1:9", pair.cert, pair, "nobody").decode()
    on(lab, machine, f"mkdir -p /etc/kubernetes; cat > {KUBECONFIG} <<'EOF'\n{conf}EOF\n")


@dataclass(frozen=True)
class Facts:
    """All of a machine that a fault may touch, from outside and from inside."""

    state: str
    cable: str
    late: str  # what stands on the bridge in the cable's place
    queue: str
    rules: list[str]
    limits: list[str]
    inside: str


INSIDE = (
    "for u in kubelet proxy; do systemctl is-active muster-$u; "
    "grep -h '^State' /proc/$(systemctl show -p MainPID --value muster-$u)/status; "
    "systemctl show -p Environment muster-$u; done; "
    "nft list tables; systemctl list-units --all --plain --no-legend 'muster-drill*'; "
    "find /run/systemd /var/lib /etc/kubernetes -name '*muster-drill*'; "
    "sha256sum /etc/kubernetes/kubelet.conf"
)


def facts(lab: DrillLab, machine: str) -> Facts:
    netns = lab_netns(NAME)

    def host(*command: str) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", netns, *command], capture_output=True, text=True, check=False
        )
        return done.stdout

    port = machine_port(machine)
    link = host("ip", "-o", "link", "show", port)
    tables = host("nft", "list", "ruleset").split("table ")
    return Facts(
        state=str(asyncio.run(lab.provider.states(lab.spec))[machine]),
        cable="up" if ",UP" in link and "LOWER_UP" in link and f"master {BRIDGE}" in link else link,
        late=host("ip", "-o", "link", "show", slow_port(machine)),
        queue=" ".join(host("tc", "qdisc", "show", "dev", port).split()[:3]),
        # Those that speak of this machine alone: the others' faults are under way.
        rules=[table for table in tables if f"{machine}-" in table or f"rate-{machine} " in table],
        limits=disk_limits(machine),
        inside=on(lab, machine, INSIDE),
    )


def disk_limits(machine: str) -> list[str]:
    """What the machine's cgroups say of its disk; version 1 has them in each."""
    layout = host_layout()
    hierarchy = layout.carrying("io") or layout.carrying("blkio")
    assert hierarchy is not None
    files = ("io.max", "blkio.throttle.write_iops_device")
    top = hierarchy.machine(NAME, machine)
    return [path.read_text() for file in files for path in sorted(top.rglob(file))]


def settled(lab: DrillLab, machine: str, before: Facts) -> Facts:
    """The facts once they are as before, or as they are when patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(Unanswered):
            if (now := facts(lab, machine)) == before or time.monotonic() > deadline:
                return now
        assert time.monotonic() < deadline, f"{machine} does not answer"
        time.sleep(0.2)


def killed_at(lab: DrillLab, fault: str, machine: str, step: str) -> Journal:
    """Run the drill until it kills itself in `step`, then wait until its watchdog is done."""
    run = f"{machine}-{fault}-{step}"
    text = f"{{fault: {fault}{SETTINGS.get(fault, '')}}}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.component.drill_victim", NAME, run, text, machine, step],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == -9, f"{step}: {done.returncode} {done.stdout}{done.stderr}"
    journal = Journal(lab.spec.state_dir / "drills" / run)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while journal.read():
        assert time.monotonic() < deadline, f"{run}: not healed: {journal.lines()}"
        time.sleep(0.1)
    return journal


@pytest.mark.parametrize("fault", FAULTS)
def test_a_drill_that_is_killed_at_any_step_leaves_nothing_of_its_fault(
    fault: str, lab: DrillLab
) -> None:
    if fault == "skew-clock" and not Path(LIBRARY).exists():
        pytest.skip("libfaketime is not installed")

    def one(machine: MachineSpec, step: str) -> tuple[Facts, Facts, Journal]:
        before = facts(lab, machine.name)
        journal = killed_at(lab, fault, machine.name, step)
        return before, settled(lab, machine.name, before), journal

    with ThreadPoolExecutor(len(STEPS)) as pool:
        done = list(pool.map(one, MACHINES, STEPS))
    for step, (before, after, journal) in zip(STEPS, done, strict=True):
        assert after == before, f"killed when {step}"
        by = [line.by for line in journal.lines() if line.event == "healed"]
        # A quick fault may be over before it can be killed in the middle.
        assert by == ["watchdog"] or (step == "acting" and by == ["drill"]), f"killed when {step}"
    assert pending(lab.spec.state_dir) == []


@pytest.mark.parametrize("step", ["watched", "written"])
def test_a_drill_that_is_killed_before_it_acts_leaves_nothing_either(
    step: str, lab: DrillLab
) -> None:
    before = facts(lab, "w1")
    journal = killed_at(lab, "power-off", "w1", step)
    assert settled(lab, "w1", before) == before
    told = [(line.event, line.by) for line in journal.lines()]
    wanted = [("written", "drill"), ("healed", "watchdog")]
    assert told == (wanted if step == "written" else [])


def test_a_fault_that_lasts_too_long_is_ended_though_the_drill_lives(lab: DrillLab) -> None:
    run = "w1-too-long"
    text = "{fault: freeze, limitSeconds: 0}"
    code = (
        "import asyncio\n"
        "from tests.component import drill_victim as v\n"
        "from drills.injection import Injector\n"
        "async def never(self): await asyncio.sleep(600)\n"
        "Injector.heal_all = never\n"
        "asyncio.run(v.main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, NAME, run, text, "w1", "never"], cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        journal = Journal(lab.spec.state_dir / "drills" / run)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while [line.event for line in journal.lines()][-1:] != ["healed"]:
            assert time.monotonic() < deadline, journal.lines()
            time.sleep(0.1)
        assert process.poll() is None
        assert str(asyncio.run(lab.provider.states(lab.spec))["w1"]) == "running"
    finally:
        process.kill()
        process.wait()


def test_a_drill_that_was_killed_with_its_watchdog_is_healed_by_hand(lab: DrillLab) -> None:
    """As after a power cut of this host: only the journal is left."""
    from drills.journal import Undo
    from drills.undo import Plug, Resume

    journal = Journal(lab.spec.state_dir / "drills" / "by-hand")
    steps = (Plug(("w2",)), Resume(("w2",)))
    journal.write(
        Undo(drill="d", lab=NAME, key="1", fault="freeze of w2", steps=steps, deadline=0.0)
    )
    asyncio.run(lab.provider.pause(lab.spec, ["w2"]))
    asyncio.run(lab.fabric.unplug(lab.spec, ["w2"]))
    done = subprocess.run(
        [sys.executable, "-m", "muster", "drill", "heal", "--name", NAME],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "plugged in again: w2\nresumed: w2\n"), done.stderr
    assert on(lab, "w2", "echo here") == "here"
    assert asyncio.run(heal(lab)) == []


ROUND_TRIP = (
    "import socket, time\n"
    "began = time.monotonic()\n"
    "socket.create_connection(('%s', 22)).close()\n"
    "print(time.monotonic() - began)\n"
)


def test_packets_are_late_in_both_directions(lab: DrillLab) -> None:
    def seconds() -> float:
        return float(on(lab, "w1", f'python3 -c "{ROUND_TRIP % lab.address("w2")}"'))

    asyncio.run(lab.fabric.delay(lab.spec, ["w1"], Wire(delay_ms=400)))
    try:
        assert seconds() >= 0.8
    finally:
        asyncio.run(lab.fabric.undelay(lab.spec, ["w1"]))
    assert seconds() < 0.8
