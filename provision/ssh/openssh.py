"""What OpenSSH's own programs need to reach a lab's machines: ssh_config(5), and command lines.

A machine is called `muster-LAB-NODE` there, so that the hosts of several labs can stand in one
file. Nothing of the user's own configuration is asked: a lab's key, user and host key are given.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from provision.errors import LabFileError
from provision.providers.base import SshTarget


def alias(lab: str, node: str) -> str:
    return f"muster-{lab}-{node}"


def config(lab: str, targets: Mapping[str, SshTarget], known_hosts: Path) -> str:
    """A Host section for each machine, as ssh_config(5) describes them."""
    return "\n".join(_host(alias(lab, name), t, known_hosts) for name, t in targets.items())


def _host(name: str, target: SshTarget, known_hosts: Path) -> str:
    return f"""\
Host {name}
    HostName {target.host}
    Port {target.port}
    User {target.user}
    IdentityFile "{target.key_file}"
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile "{known_hosts}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ConnectTimeout 10
    ServerAliveInterval 5
    ServerAliveCountMax 4
"""


def login(
    configuration: Path, host: str, target: SshTarget, words: Sequence[str], flags: Sequence[str]
) -> list[str]:
    """ssh(1) for one machine. `words` are joined by spaces for the machine's shell, as ssh does.

    A command runs as root on every provider: by sudo where the login is another user's.
    """
    line = " ".join(words)
    if words and target.user != "root":
        line = f"sudo -n -- sh -c {shlex.quote(line)}"
    return ["ssh", "-F", str(configuration), *flags, "--", host, *([line] if words else [])]


def copy(configuration: Path, lab: str, nodes: Sequence[str], words: Sequence[str]) -> list[str]:
    """scp(1) of `words`, of which `NODE:PATH` means a machine and all others a local file."""
    remote = [where for word in words if (where := _machine(word)) is not None]
    if not remote:
        raise LabFileError("neither side is a machine", "write one as NODE:PATH")
    for name in remote:
        if name not in nodes:
            raise LabFileError(
                f'there is no machine "{name}"',
                f'there are: {", ".join(nodes)}; a local file with a colon is "./a:b"',
            )
    # A colon makes a word a machine's for scp too: what we call local must be local to it.
    placed = [f"{alias(lab, word.split(':', 1)[0])}:{word.split(':', 1)[1]}"
              if _machine(word) is not None else word for word in words]  # fmt: skip
    return ["scp", "-F", str(configuration), "-3", "-r", "-p", "--", *placed]


def _machine(word: str) -> str | None:
    """The machine that scp(1) would take `word` for: what stands before a colon and no slash."""
    head, colon, _ = word.partition(":")
    return head if colon and head and "/" not in head else None
