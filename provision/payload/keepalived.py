"""The floating address of a control plane with several masters: VRRP by Debian's keepalived.

Unicast, because clouds and some bridges drop multicast. Adverts every 0.3 s move the address
within about a second of a master's death (VRRPv3, RFC 5798: three adverts plus the skew).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from provision.identities import LabRecord
from provision.payload.hardening import KEEPALIVED
from provision.payload.model import CONFIG, INTERFACE, File, Unit
from provision.providers.base import MachineSpec

CHECK = f"{CONFIG}/check_apiserver.py"
CONF = f"{CONFIG}/keepalived.conf"


def keepalived_files(record: LabRecord, machine: MachineSpec) -> list[File]:
    check = Path(__file__).with_name("check_apiserver.py").read_bytes()
    return [File(CONF, _conf(record, machine).encode()), File(CHECK, check, 0o755)]


def keepalived_unit() -> Unit:
    return Unit(
        name="muster-keepalived",
        description="Floating address of the control plane (VRRP)",
        command=(
            "/usr/sbin/keepalived",
            "--dont-fork",
            "--vrrp",
            f"--use-file={CONF}",
            "--pid=/run/muster-keepalived/keepalived.pid",
            "--vrrp_pid=/run/muster-keepalived/vrrp.pid",
        ),
        inputs=(CONF, CHECK),
        service=KEEPALIVED,
        after=("muster-apiserver.service",),
        python=False,
        kind="simple",
    )


def router_id(lab: str) -> int:
    """VRRP ids are 1 to 255 per network; labs on one network must differ."""
    return 1 + hashlib.sha256(lab.encode()).digest()[0] % 255


def _conf(record: LabRecord, machine: MachineSpec) -> str:
    peers = [m.address for m in record.masters if m.name != machine.name]
    priority = 150 - record.masters.index(machine)
    prefix = record.network.prefix_length
    return f"""\
global_defs {{
    router_id {machine.name}
    vrrp_version 3
    script_user root
    enable_script_security
}}

vrrp_script apiserver {{
    script "/usr/bin/python3 -I -S {CHECK}"
    interval 2
    timeout 2
    fall 2
    rise 1
}}

vrrp_instance control_plane {{
    # All begin as backups and none preempts: a master that comes back does not move the address.
    state BACKUP
    nopreempt
    interface {INTERFACE.decode()}
    virtual_router_id {router_id(record.name)}
    priority {priority}
    # A dead master is given up after three of these and a bit: before clients, whose connections
    # to it are lost, ask a second time (Linux: after 1 s, then only 2 s later).
    advert_int 0.2
    unicast_src_ip {machine.address}
    unicast_peer {{
        {f"{chr(10)}        ".join(peers)}
    }}
    virtual_ipaddress {{
        {record.vip}/{prefix} dev {INTERFACE.decode()}
    }}
    track_script {{
        apiserver
    }}
}}
"""
