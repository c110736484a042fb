"""Who is who in a lab: names and addresses, allocated once and kept for the lab's life.

Pure: the lab file and what other labs hold go in, a `LabRecord` comes out. The record is
stored by `provision.state`; nothing here reads a disk or a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

import msgspec
from msgspec import UNSET, Struct

from provision.errors import LabConflict
from provision.labfile.size import mebibytes
from provision.labfile.spec import Lab, MachineSize, Network, provider_options, stanza
from provision.labfile.validate import sizes
from provision.providers import PROVIDERS, declared
from provision.providers.base import LabNetwork, MachineSpec, Role

DEFAULT_LAB = "default"
SUPERNET = IPv4Network("10.200.0.0/16")  # default labs' /24s are taken from here, in order

GATEWAY, VIP, FIRST_MASTER, FIRST_WORKER, HOST = 1, 10, 11, 21, 254


class LabRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lab that was made: what was asked for and what it was given."""

    version: int = 1
    lab: Lab
    network: LabNetwork
    vip: str | None
    machines: tuple[MachineSpec, ...]

    @property
    def name(self) -> str:
        return self.lab.metadata.name

    @property
    def masters(self) -> tuple[MachineSpec, ...]:
        return tuple(m for m in self.machines if m.role == "master")

    @property
    def workers(self) -> tuple[MachineSpec, ...]:
        return tuple(m for m in self.machines if m.role == "worker")

    @property
    def endpoint(self) -> str:
        """Where the API is: the floating address, or the only master's."""
        return self.vip or self.masters[0].address

    def machine(self, name: str) -> MachineSpec | None:
        return next((m for m in self.machines if m.name == name), None)


def service_address(lab: Lab, offset: int) -> str:
    """The n-th address of the service network: 1 is `kubernetes`, 10 is DNS."""
    network = IPv4Network(lab.spec.network.service_cidr)
    return str(network.network_address + offset)


def allocate(lab: Lab, taken: Mapping[str, str], routes: Sequence[IPv4Network] = ()) -> LabRecord:
    """Give a new lab its names and addresses.

    `taken` are other labs' names and their subnets, `routes` the networks that this host reaches
    already: a subnet that nobody asked for by name avoids them.
    """
    subnet = _subnet(lab, {name: IPv4Network(cidr) for name, cidr in taken.items()}, routes)
    masters = _machines(lab, "master", subnet)
    # A cloud's network does not let an address float by itself; there, clients use one master.
    floats = len(masters) > 1 and not declared(lab.spec.provider).in_a_cloud
    return LabRecord(
        lab=lab,
        network=LabNetwork(
            subnet=str(subnet),
            gateway=_address(subnet, GATEWAY),
            host_address=_address(subnet, HOST),
        ),
        vip=_address(subnet, VIP) if floats else None,
        machines=(*masters, *_machines(lab, "worker", subnet)),
    )


def _subnet(
    lab: Lab, taken: Mapping[str, IPv4Network], routes: Sequence[IPv4Network]
) -> IPv4Network:
    wanted = lab.spec.network.subnet
    if wanted is not UNSET:
        subnet = IPv4Network(wanted)
        for name, other in taken.items():
            if subnet.overlaps(other):
                raise LabConflict(
                    f'spec.network.subnet: {subnet} overlaps lab "{name}" ({other})',
                    "choose another subnet, or leave it out to get the next free one",
                )
        return subnet
    return _next_free(lab, [*taken.values(), *routes])


def _next_free(lab: Lab, taken: Sequence[IPv4Network]) -> IPv4Network:
    own = [IPv4Network(lab.spec.network.pod_cidr), IPv4Network(lab.spec.network.service_cidr)]
    used = [*taken, *own]
    # The first /24 belongs to the lab called "default", so that its addresses never surprise.
    first = 0 if lab.metadata.name == DEFAULT_LAB else 1
    for candidate in list(SUPERNET.subnets(new_prefix=24))[first:]:
        if not any(candidate.overlaps(other) for other in used):
            return candidate
    raise LabConflict(
        f"no free /24 is left in {SUPERNET}", "give spec.network.subnet, or remove a lab"
    )


def _address(subnet: IPv4Network, offset: int) -> str:
    return str(IPv4Address(int(subnet.network_address) + offset))


def _machines(lab: Lab, role: Role, subnet: IPv4Network) -> tuple[MachineSpec, ...]:
    declared = lab.spec.masters if role == "master" else lab.spec.workers
    first = FIRST_MASTER if role == "master" else FIRST_WORKER
    return tuple(
        _machine(lab, f"{role[0]}{index + 1}", role, _address(subnet, first + index), size)
        for index, size in enumerate(sizes(declared))
    )


def _machine(lab: Lab, name: str, role: Role, address: str, size: MachineSize) -> MachineSpec:
    limits = provider_options(lab.spec).limits()
    disk = limits.disk if size.disk is UNSET else size.disk
    return MachineSpec(
        name=name,
        role=role,
        address=address,
        cpus=float(size.cpus),
        memory_mib=mebibytes(size.memory),
        disk_mib=mebibytes(disk) if disk is not None else None,
        pids=limits.pids,
    )


def amend(record: LabRecord, wanted: Lab) -> LabRecord:
    """What the existing lab becomes when the user asks for `wanted`.

    Workers may be added; timers and images may change. Anything else would need the lab to be
    made anew, and is refused with what differs.
    """
    current = record.lab.spec
    _same(record, "provider", current.provider, wanted.spec.provider)
    _same(record, "runtime", current.runtime, wanted.spec.runtime)
    for name in PROVIDERS:
        _same(record, name, stanza(current, name), stanza(wanted.spec, name))
    _same(record, "masters", sizes(current.masters), sizes(wanted.spec.masters))
    _same_network(record, wanted)
    have, want = sizes(current.workers), sizes(wanted.spec.workers)
    if want[: len(have)] != have:
        raise LabConflict(
            f'lab "{record.name}" has {len(have)} workers; {len(want)} '
            f"{'of other sizes ' if len(want) >= len(have) else ''}were asked for",
            "workers can be added, not removed or resized: `muster down` the lab to make it anew",
        )
    subnet = IPv4Network(record.network.subnet)
    # What exists keeps what it was given, also where newer defaults would give it more or less.
    workers = (record.machine(m.name) or m for m in _machines(wanted, "worker", subnet))
    return msgspec.structs.replace(record, lab=wanted, machines=(*record.masters, *workers))


def _same_network(record: LabRecord, wanted: Lab) -> None:
    if wanted.spec.network.subnet is not UNSET:
        _same(record, "network.subnet", record.network.subnet, wanted.spec.network.subnet)
    for field in msgspec.structs.fields(Network):
        if field.name != "subnet":
            current = getattr(record.lab.spec.network, field.name)
            asked = getattr(wanted.spec.network, field.name)
            _same(record, f"network.{field.encode_name}", current, asked)


def _same(record: LabRecord, field: str, current: object, wanted: object) -> None:
    if current != wanted:
        raise LabConflict(
            f'lab "{record.name}" exists with spec.{field} {_words(current)}; '
            f"{_words(wanted)} cannot be had without making it anew",
            f"`muster down --name {record.name}` first, or use another --name",
        )


def _size(size: MachineSize) -> str:
    return f"{size.cpus:g} CPU {size.memory}"


def _words(value: object) -> str:
    if isinstance(value, list):
        return str(len(value)) if len(set(value)) < 2 else ", ".join(map(_size, value))
    return "none" if value is UNSET else str(value)
