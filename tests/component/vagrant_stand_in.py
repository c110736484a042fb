"""Stands in for the `vagrant` command where no virtual machines can be had.

It keeps each machine's state in a file under VAGRANT_DOTFILE_PATH, answers in vagrant's formats,
and misbehaves as the real one has been seen to, by the words in the file MISBEHAVE names.
The real vagrant reads the real Vagrantfile in test_vagrantfile.py; `make test-vagrant` boots.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main(arguments: list[str]) -> int:
    notes = Path(os.environ["VAGRANT_DOTFILE_PATH"])
    names = [m["name"] for m in json.loads(Path(os.environ["MUSTER_LAB"]).read_text())["machines"]]
    file = notes / "states.json"
    states = dict.fromkeys(names, "not_created")
    if file.exists():
        states |= json.loads(file.read_text())
    verb, *rest = arguments
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    chosen = [argument for argument in rest if argument in names] or names
    trouble = Path(os.environ["MISBEHAVE"])
    words = trouble.read_text().split() if trouble.exists() else []
    code = act(verb, rest, chosen, states, words)
    if verb != "validate":
        file.write_text(json.dumps(states))
    return code


def act(
    verb: str, rest: list[str], chosen: list[str], states: dict[str, str], words: list[str]
) -> int:
    if verb == "status":
        for name, state in states.items():
            print(f"1,{name},state,{state}")
    elif verb == "up":
        return up(chosen, states, words)
    elif verb == "ssh-config":
        for name in chosen:
            print(f"Host {name}\n  HostName 127.0.0.1\n  User vagrant\n  Port 22")
            print(f"  IdentityFile /keys/{name}\n")
    elif verb == "halt":
        states |= dict.fromkeys(chosen, "shutoff")
        if "halt-hangs" in words and "--force" not in rest:
            states |= dict.fromkeys(chosen, "running")
            sys.stdout.flush()
            time.sleep(600)
    elif verb == "suspend":
        states |= dict.fromkeys(chosen, "paused")
    elif verb == "resume":
        states |= dict.fromkeys(chosen, "running")
    elif verb == "destroy":
        return destroy(rest, chosen, states, words)
    return 0


def up(chosen: list[str], states: dict[str, str], words: list[str]) -> int:
    for name in chosen:
        if f"{name}-fails" in words:
            states[name] = "running"  # as with a boot that times out: it exists all the same
            print("Timed out while waiting for the machine to boot.")
            return 1
        print(f"==> {name}: Machine booted and ready!")
        states[name] = "running"
    return 0


def destroy(rest: list[str], chosen: list[str], states: dict[str, str], words: list[str]) -> int:
    """vagrant-libvirt 0.11.2 fails on halted machines when it destroys several in parallel."""
    halted = [name for name in chosen if states[name] == "shutoff"]
    several_fail = "destroy-fails" in words and len(chosen) > 1 and halted
    if several_fail or (halted and "--no-parallel" not in rest):
        print("uninitialized constant VagrantPlugins::ProviderLibvirt::Action::ProvisionerCleanup")
        states |= {name: "not_created" for name in chosen if name not in halted}
        return 1
    states |= dict.fromkeys(chosen, "not_created")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
