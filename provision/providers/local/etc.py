"""The few files that make a machine's own /etc and home directories. Pure rendering.

Nothing here comes from the host's /etc: users come from Debian's base-passwd (in /usr), units
from the host's /usr/lib/systemd with all that a machine does not want masked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from provision.providers.base import LabSpec, MachineSpec
from provision.providers.identity import Identity

# Accounts beyond base-passwd's that sshd, systemd and its tmpfiles.d need; fixed for all machines.
EXTRA_USERS = {"sshd": (105, 65534, "/run/sshd"), "systemd-network": (998, 998, "/")}
EXTRA_GROUPS = {"systemd-journal": 999, "systemd-network": 998, "messagebus": 104}

# Of what the distribution starts in every system, the parts that a machine wants.
WANTED_UNITS = frozenset(
    {
        "dev-mqueue.mount",
        "systemd-journal-flush.service",
        "systemd-journald-dev-log.socket",
        "systemd-journald.service",
        "systemd-journald.socket",
        "systemd-tmpfiles-setup.service",
    }
)
# Pulled in by dependencies written in the units themselves, not by a .wants directory.
UNWANTED_UNITS = frozenset(
    {
        "console-getty.service",
        "ldconfig.service",
        "ssh.socket",
        "systemd-journald-audit.socket",
        "systemd-journal-catalog-update.service",
        "systemd-remount-fs.service",
        "systemd-udev-settle.service",
        "systemd-udev-trigger.service",
        "systemd-udevd-control.socket",
        "systemd-udevd-kernel.socket",
        "systemd-udevd.service",
        "systemd-update-done.service",
    }
)
WANTED_TMPFILES = frozenset({"legacy.conf", "systemd.conf", "tmp.conf", "var.conf"})


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What of the host's /usr (and of nothing else) shapes a machine's /etc."""

    passwd: str  # base-passwd's masters
    group: str
    vendor_units: frozenset[str]  # all that any vendor .wants directory names
    generators: frozenset[str]
    tmpfiles: frozenset[str]
    alternatives: Mapping[str, str] = field(default_factory=dict)
    os_release: str = ""
    certificates: str = ""


@dataclass(frozen=True, slots=True)
class File:
    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Tree:
    """A set of files, directories and symbolic links, relative to a machine's root."""

    files: tuple[File, ...]
    directories: Mapping[str, int]
    links: Mapping[str, str]


def first_boot(lab: LabSpec, machine: MachineSpec, identity: Identity, facts: HostFacts) -> Tree:
    """Everything that is written once, when the machine is made. It is the machine's own after."""
    return Tree(
        files=(
            *_accounts(facts),
            *_network_files(lab, machine),
            *_ssh_files(lab, identity),
            *_systemd_files(identity),
            File("etc/os-release", facts.os_release),
            File("etc/ssl/certs/ca-certificates.crt", facts.certificates),
            File("etc/profile", _PROFILE),
            File("etc/environment", ""),
            File("etc/fstab", ""),
            File("etc/shells", "/bin/sh\n/bin/bash\n"),
            File("root/.bashrc", f"PS1='{machine.name}:\\w# '\n"),
        ),
        directories=_DIRECTORIES,
        links={
            **{f"etc/alternatives/{name}": to for name, to in facts.alternatives.items()},
            **_unit_links(facts),
            "etc/mtab": "../proc/self/mounts",
            "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
            "bin": "usr/bin",
            "sbin": "usr/sbin",
            "lib": "usr/lib",
            "lib64": "usr/lib64",
            "var/run": "/run",
            "var/lock": "/run/lock",
        },
    )


def every_boot(machine: MachineSpec) -> tuple[File, ...]:
    """Files that follow the lab file, which may have changed since. The kubelet reads the size."""
    size = {
        "name": machine.name,
        "role": machine.role,
        "address": machine.address,
        "cpus": machine.cpus,
        "memory_mib": machine.memory_mib,
        "disk_mib": machine.disk_mib,
        "pids": machine.pids,
    }
    return (File("etc/muster/machine.json", json.dumps(size, indent=2) + "\n"),)


def passwd(master: str) -> str:
    """base-passwd's users plus ours. `*` in the master means: the password is in /etc/shadow."""
    lines = [line.replace(":*:", ":x:", 1) for line in master.splitlines()]
    for name, (uid, gid, home) in EXTRA_USERS.items():
        lines.append(f"{name}:x:{uid}:{gid}::{home}:/usr/sbin/nologin")
    return _text(lines)


def group(master: str) -> str:
    lines = [line.replace(":*:", ":x:", 1) for line in master.splitlines()]
    return _text([*lines, *(f"{name}:x:{gid}:" for name, gid in EXTRA_GROUPS.items())])


def shadow(passwd_text: str) -> str:
    """No password opens any account: `*` matches none, and unlike `!` it does not lock sshd out."""
    names = [line.split(":", 1)[0] for line in passwd_text.splitlines()]
    return _text([f"{name}:*:19000:0:99999:7:::" for name in names])


def hosts(lab: LabSpec, machine: MachineSpec) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{m.address} {m.name}" for m in lab.machines]
    if machine not in lab.machines:
        lines.append(f"{machine.address} {machine.name}")
    return _text(lines)


def masked_units(facts: HostFacts) -> frozenset[str]:
    """Whatever the distribution would start in every system, except what a machine wants."""
    return (facts.vendor_units - WANTED_UNITS) | UNWANTED_UNITS


def _accounts(facts: HostFacts) -> tuple[File, ...]:
    users = passwd(facts.passwd)
    return (
        File("etc/passwd", users),
        File("etc/group", group(facts.group)),
        File("etc/shadow", shadow(users), 0o640),
        File("etc/nsswitch.conf", _NSSWITCH),
        File("etc/pam.d/other", _PAM),
        File("etc/login.defs", "UID_MIN 1000\nGID_MIN 1000\nENCRYPT_METHOD YESCRYPT\n"),
    )


def _network_files(lab: LabSpec, machine: MachineSpec) -> tuple[File, ...]:
    return (
        File("etc/hostname", machine.name + "\n"),
        File("etc/hosts", hosts(lab, machine)),
        # No nameserver: with none listed a lookup fails at once instead of timing out.
        File("etc/resolv.conf", "options timeout:1 attempts:1\n"),
        File("etc/protocols", "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nsctp 132 SCTP\n"),
        File("etc/services", "ssh 22/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp\n"),
    )


def _ssh_files(lab: LabSpec, identity: Identity) -> tuple[File, ...]:
    return (
        File("etc/ssh/sshd_config", _SSHD_CONFIG),
        File("etc/ssh/ssh_host_ed25519_key", identity.host_key, 0o600),
        File("etc/ssh/ssh_host_ed25519_key.pub", identity.host_key_public + "\n"),
        File("root/.ssh/authorized_keys", lab.ssh_public_key.strip() + "\n", 0o600),
    )


def _systemd_files(identity: Identity) -> tuple[File, ...]:
    return (
        File("etc/machine-id", identity.machine_id + "\n", 0o444),
        File("etc/systemd/system/ssh.service", _SSH_UNIT),
        File("etc/systemd/journald.conf", _JOURNALD),
        File("etc/systemd/system.conf", _SYSTEM_CONF),
    )


def _unit_links(facts: HostFacts) -> dict[str, str]:
    system = "etc/systemd/system"
    links = {f"{system}/{unit}": "/dev/null" for unit in sorted(masked_units(facts))}
    links |= {f"etc/systemd/system-generators/{g}": "/dev/null" for g in sorted(facts.generators)}
    unwanted = sorted(facts.tmpfiles - WANTED_TMPFILES)
    links |= {f"etc/tmpfiles.d/{name}": "/dev/null" for name in unwanted}
    links[f"{system}/default.target"] = "/usr/lib/systemd/system/multi-user.target"
    links[f"{system}/multi-user.target.wants/ssh.service"] = f"/{system}/ssh.service"
    return links


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


_DIRECTORIES: Mapping[str, int] = {
    **dict.fromkeys(
        ("dev", "proc", "sys", "run", "usr", "mnt", "media", "srv", "home", "opt"), 0o755
    ),
    **dict.fromkeys(("etc", "etc/muster", "var", "var/lib", "var/cache", "var/spool"), 0o755),
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    "var/log": 0o755,
    "var/log/journal": 0o2755,
    "root": 0o700,
    "root/.ssh": 0o700,
}

_NSSWITCH = """\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
"""

_PAM = """\
auth required pam_unix.so
account required pam_unix.so
password required pam_unix.so
session required pam_unix.so
"""

_PROFILE = """\
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ -n "$BASH" ] && [ -f ~/.bashrc ] && . ~/.bashrc
umask 022
"""

# Reached by key only. UsePAM pulls in sessions and logind; UseDNS waits for a resolver.
_SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 100
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""

# The distribution's unit waits for the network and checks its configuration first; here both
# are there from the first moment.
_SSH_UNIT = """\
[Unit]
Description=OpenSSH server
DefaultDependencies=no
After=local-fs.target systemd-journald.socket
Before=shutdown.target
Conflicts=shutdown.target

[Service]
Type=notify
ExecStart=/usr/sbin/sshd -D
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755

[Install]
WantedBy=multi-user.target
Alias=sshd.service
"""

_JOURNALD = """\
[Journal]
Storage=persistent
SystemMaxUse=64M
SystemMaxFileSize=8M
RateLimitIntervalSec=0
ReadKMsg=no
Audit=no
"""

_SYSTEM_CONF = """\
[Manager]
LogTarget=journal
ShowStatus=no
DefaultTimeoutStopSec=15s
"""
