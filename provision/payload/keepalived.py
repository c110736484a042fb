"""The floating address of a control plane with several masters: VRRP by Debian's keepalived.

Unicast, because clouds and some bridges drop multicast. Adverts every 0.3 s move the address
within about a second of a master's death (VRRPv3, RFC 5798: three adverts plus the skew).

A master whose api-server does not answer weighs less, but stays in the election: when no
api-server answers in time, as on a host that is out of breath, somebody holds the address still.
All masters weigh the same by themselves, so that one that comes back does not move the address.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from provision.identities import LabRecord
from provision.payload.hardening import KEEPALIVED, service
from provision.payload.model import CONFIG, INTERFACE, File, Unit
from provision.payload.owners import APISERVER
from provision.payload.units import PYTHON
from provision.providers.base import MachineSpec

CHECK = f"{CONFIG}/check_apiserver.py"
CONF = f"{CONFIG}/keepalived.conf"
CHECK_UNIT = "muster-apiserver-check"
ANSWER = f"/run/{CHECK_UNIT}/answer"


def keepalived_files(record: LabRecord, machine: MachineSpec) -> list[File]:
    check = Path(__file__).with_name("check_apiserver.py").read_bytes()
    return [File(CONF, _conf(record, machine).encode()), File(CHECK, check, 0o755)]


def check_unit() -> Unit:
    """As the api-server's user, whose key to the kubelets it shows."""
    return Unit(
        name=CHECK_UNIT,
        description="Tells keepalived whether the API server answers",
        command=(PYTHON, "-I", "-S", CHECK, ANSWER),
        inputs=(CHECK,),
        service=(
            *service(APISERVER),
            f"RuntimeDirectory={CHECK_UNIT}",
            # keepalived watches the file, and what it said last holds until it says more.
            "RuntimeDirectoryPreserve=yes",
            "WatchdogSec=30",
        ),
        python=False,
    )


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
        inputs=(CONF,),
        service=KEEPALIVED,
        after=(f"{CHECK_UNIT}.service",),
        python=False,
        kind="simple",
    )


def router_id(lab: str) -> int:
    """VRRP ids are 1 to 255 per network; labs on one network must differ."""
    return 1 + hashlib.sha256(lab.encode()).digest()[0] % 255


def _conf(record: LabRecord, machine: MachineSpec) -> str:
    peers = [m.address for m in record.masters if m.name != machine.name]
    prefix = record.network.prefix_length
    return f"""\
global_defs {{
    router_id {machine.name}
    vrrp_version 3
}}

track_file apiserver {{
    file "{ANSWER}"
    weight -50
    init_file 1
}}

vrrp_instance control_plane {{
    # All begin as backups, and equals do not take the address from each other.
    state BACKUP
    interface {INTERFACE.decode()}
    virtual_router_id {router_id(record.name)}
    priority 150
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
    track_file {{
        apiserver
    }}
}}
"""
