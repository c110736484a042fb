"""OpenSSH's configuration and command lines: who is meant, and what the machine's shell gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.errors import LabFileError
from provision.providers.base import SshTarget
from provision.ssh.openssh import config, copy, login

KEY = Path("/state/a b/id")
ROOT = SshTarget("10.0.0.1", 22, "root", KEY, "ssh-ed25519 AAAA")
OTHER = SshTarget("127.0.0.1", 2222, "vagrant", KEY, "ssh-ed25519 AAAA")


def test_each_machine_is_a_host_with_its_own_user_port_and_key() -> None:
    text = config("lab", {"m1": ROOT, "w1": OTHER}, Path("/state/known"))
    first, second = text.split("\n\n")
    assert first.startswith("Host muster-lab-m1\n    HostName 10.0.0.1\n    Port 22\n")
    assert '    IdentityFile "/state/a b/id"\n' in first
    assert "    StrictHostKeyChecking yes\n" in first
    assert "Host muster-lab-w1\n" in second
    assert "    User vagrant\n" in second and "    Port 2222\n" in second


def test_a_command_is_one_line_for_the_machines_shell_and_root_runs_it() -> None:
    there = Path("/c")
    assert login(there, "h", ROOT, ["cat", ">", "/x"], ["-n"]) == [
        "ssh", "-F", "/c", "-n", "--", "h", "cat > /x",
    ]  # fmt: skip
    assert login(there, "h", OTHER, ["cat > '/x'"], [])[-1] == (
        """sudo -n -- sh -c 'cat > '"'"'/x'"'"''"""
    )
    assert login(there, "h", OTHER, [], ["-t"]) == ["ssh", "-F", "/c", "-t", "--", "h"]


def test_machines_are_named_before_a_colon() -> None:
    words = copy(Path("/c"), "lab", ["m1", "w1"], ["./a:b", "m1:/x", "w1:"])
    assert words[-3:] == ["./a:b", "muster-lab-m1:/x", "muster-lab-w1:"]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["a", "b"], "neither side"), (["a", "w9:/x"], 'no machine "w9"')],
)
def test_a_copy_that_names_no_machine_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(LabFileError, match=said):
        copy(Path("/c"), "lab", ["m1"], words)
