"""What each unit may do to its machine, as lines of [Service] (systemd.exec(5)).

The master's components need nothing but their keys, their sockets and, the store, its data: each
runs as a user of its own without a capability. The proxy and the network agent change the machine's
packet filter and routes: they are root with the two capabilities for that. The kubelet and the
runtime mount file systems for pods and start containers; what puts a service into mounts of its own
or is handed down to all that it starts (seccomp filters, no_new_privs) is not for them.
"""

from __future__ import annotations

# The machine's files, devices and kernel are to be read at the most.
_APART = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
)
# Works for whatever neither mounts for others nor starts programs of strangers.
_CONFINED = (
    *_APART,
    "ProtectProc=invisible",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
    "UMask=0077",
)


def service(user: str, *, group: str = "", state: str = "") -> tuple[str, ...]:
    """A component that runs as `user`; `state` is its directory below /var/lib."""
    return (
        f"User={user}",
        f"Group={user}",
        *((f"SupplementaryGroups={group}",) if group else ()),
        # An existing directory of another owner is handed over with all that it holds.
        *((f"StateDirectory={state}", "StateDirectoryMode=0700") if state else ()),
        "CapabilityBoundingSet=",
        *_CONFINED,
        "ProtectKernelTunables=yes",
        "RemoveIPC=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    )


def network_agent(*lines: str) -> tuple[str, ...]:
    """Root, but only over the network. Sysctls of the network are part of the work."""
    return (
        "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW",
        *_CONFINED,
        "ReadWritePaths=/run",  # iptables' lock, which all of the machine's programs share
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        *lines,
    )


# Its mounts are the machine's, fsGroup sets the setgid bit, and it runs mount(8) and umount(8).
KUBELET = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID",
    "CapabilityBoundingSet=CAP_KILL CAP_NET_ADMIN CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_SYS_RESOURCE",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service @mount",
    "SystemCallErrorNumber=EPERM",
)

# Whatever it may not do, no privileged container may.
RUNTIME = ("StateDirectory=muster/runtime", "StateDirectoryMode=0711")

# Root, because it reads the machine's own certificate, but without any capability. It looks at the
# first process' mounts: its own are read-only.
NODE_EXPORTER = (
    "CapabilityBoundingSet=",
    *_CONFINED,
    "ProtectProc=default",
    "ProtectKernelTunables=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "Nice=10",
    "MemoryMax=64M",
)

KEEPALIVED = (
    "RuntimeDirectory=muster-keepalived",
    "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BROADCAST CAP_NET_RAW",
    *_APART,
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET",
    "SystemCallArchitectures=native",
)
