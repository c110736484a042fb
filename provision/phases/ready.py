"""Waiting until the lab's API answers and its nodes are Ready; saying what is missing if not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from provision.cluster import ApiUnavailable, Cluster, NodeState
from provision.errors import MachineUnreachable, NotReadyInTime
from provision.phases.report import Step
from provision.phases.session import Session
from provision.providers import declared
from provision.ssh import over_ssh

POLL_SECONDS = 0.25
ASK_SECONDS = 10.0  # an emulated machine that starts everything at once is slow to answer
JOURNAL_LINES = "4"
# Of the kubelet whose node is missed, also when systemd is content with it: what is told here is
# all that is left once a failed `up` has taken the machine away.
KUBELET_JOURNAL_LINES = "20"
MANY_RESTARTS = 5  # more than a unit needs whose peers are still booting
LOOK_SECONDS = 60.0  # on a machine that is so slow that its node is late


async def api_address(session: Session) -> str:
    """The endpoint as this host reaches it: a cloud's machines have another address outside.

    Where SSH goes does not tell: a virtual machine is often logged into over a network of its
    own, or a forwarded port, while this host is also on the lab's network.
    """
    record = session.record
    if not declared(record.lab.spec.provider).in_a_cloud:
        return record.endpoint
    return (await session.target(record.masters[0].name)).host


@dataclass(slots=True)
class _Watch:
    """Looks at the API until nothing is missing any more."""

    cluster: Cluster
    step: Step
    missing: dict[str, str]  # node: what it lacks
    masters: frozenset[str]
    renewed_anew: bool  # a Ready condition from before the stop does not count
    first_renewals: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        try:
            nodes = self.cluster.nodes(ASK_SECONDS)
            self._mark_masters(nodes)
            alive = self._renewed(nodes)
        except ApiUnavailable as error:
            self.missing = dict.fromkeys(self.missing, f"the API does not answer: {error}")
            return
        for name in list(self.missing):
            node = nodes.get(name)
            if node is not None and node.ready and name in alive:
                self.step.say(name, "node Ready")
                del self.missing[name]
            elif node is not None:
                self.missing[name] = "its kubelet is silent" if node.ready else node.why
            else:
                self.missing[name] = "the node is not registered"

    def _mark_masters(self, nodes: Mapping[str, NodeState]) -> None:
        for name in self.masters & nodes.keys():
            if not nodes[name].is_control_plane:
                self.cluster.mark_control_plane(name, ASK_SECONDS)

    def _renewed(self, nodes: Mapping[str, NodeState]) -> set[str]:
        """The nodes whose kubelet has renewed its Lease since the first look."""
        if not self.renewed_anew:
            return set(nodes)
        renewals = self.cluster.renewals(ASK_SECONDS)
        for name, when in renewals.items():
            self.first_renewals.setdefault(name, when)
        return {name for name, when in renewals.items() if when != self.first_renewals[name]}


async def wait_ready(
    session: Session,
    step: Step,
    timeout: float,
    names: Sequence[str] | None = None,
    *,
    restarted: bool = False,
) -> None:
    """Until the nodes called `names` (all for None) are Ready. Raises with what each lacks.

    After a restart the API remembers nodes as Ready from before; then a renewed Lease, which
    only a living kubelet gives, is asked for as well.
    """
    wanted = list(names) if names is not None else [m.name for m in session.record.machines]
    cluster = Cluster(await api_address(session), session.directory.pki)
    masters = frozenset(machine.name for machine in session.record.masters)
    missing = dict.fromkeys(wanted, "not registered")
    watch = _Watch(cluster, step, missing, masters, restarted)
    deadline = time.monotonic() + timeout
    while True:
        await asyncio.to_thread(watch.look)
        if not watch.missing:
            return
        if time.monotonic() > deadline:
            raise await _explained(session, watch.missing, timeout)
        await asyncio.sleep(POLL_SECONDS)


async def _explained(session: Session, missing: dict[str, str], timeout: float) -> NotReadyInTime:
    lines = [f"{name}: {why}" for name, why in missing.items()]
    suspects = dict.fromkeys([session.record.masters[0].name, *missing])
    for name in list(suspects)[:3]:
        lines += await _suspect_units(session, name, "muster-kubelet" if name in missing else "")
    return NotReadyInTime(
        f"not all nodes were Ready within {timeout:.0f} s\n" + "\n".join(lines),
        f"see `muster logs kubelet --name {session.record.name}`; "
        "--timeout waits longer, --retain keeps the lab for a look",
    )


async def _suspect_units(session: Session, name: str, always: str) -> list[str]:
    """The units of a machine that do not run, and the one called `always`: states, journals."""
    target = await session.target(name)
    look = ["sh", "-c", _LOOK, "look", always]
    with contextlib.suppress(MachineUnreachable):
        done = await over_ssh(target, name, lambda c: c.run(look, timeout=LOOK_SECONDS))
        return [f"{name}: {line}" for line in done.text.splitlines()]
    return [f"{name}: does not answer over SSH"]


# The processor time tells a process that turns in a circle from one that waits.
_LOOK = f"""
units=$(systemctl list-unit-files --no-legend 'muster-*' | cut -d' ' -f1)
failing= running=
for unit in $units; do
  # One that dies at once is often caught between two deaths: it restarted many times.
  if [ "$(systemctl show -p SubState --value $unit)" != running ] ||
      [ "$(systemctl show -p NRestarts --value $unit)" -ge {MANY_RESTARTS} ]; then
    failing="$failing $unit"
  elif [ "$unit" = "$1.service" ]; then
    running=$unit
  fi
done
# What fails comes first: what waits for it says nothing new.
for unit in $failing $running; do
  state=$(systemctl show -p SubState --value $unit)
  lines={JOURNAL_LINES}
  [ "$unit" = "$1.service" ] && lines={KUBELET_JOURNAL_LINES}
  restarts=$(systemctl show -p NRestarts --value $unit)
  pid=$(systemctl show -p MainPID --value $unit)
  echo "$unit is $state, restarted $restarts times," \
    "up and processor time: $(ps -o etime=,time= -p $pid)"
  journalctl -u $unit -n $lines --no-pager -o cat | cut -c1-300
done
"""
