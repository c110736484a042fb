"""Vagrant's words and what they mean; the lab as its Vagrantfile reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from provision.providers.base import (
    LabBusy,
    LabNetwork,
    LabSpec,
    MachineSpec,
    MachineState,
    ProviderError,
)
from provision.providers.vagrant.output import (
    HostEntry,
    explain,
    parse_ssh_config,
    parse_states,
    parse_step,
)
from provision.providers.vagrant.settings import (
    Settings,
    description,
    network_problems,
    parse_settings,
)

LAB = LabSpec(
    name="t",
    network=LabNetwork("10.213.14.0/24", "10.213.14.1", "10.213.14.254"),
    machines=(MachineSpec("m1", "master", "10.213.14.11", 1.5, 1024, 4096),),
    state_dir=Path("/nowhere/t"),
    ssh_public_key="ssh-ed25519 AAAA me",
    ssh_private_key=Path("/nowhere/key"),
)


def test_states_of_both_back_ends() -> None:
    text = "\n".join(
        [
            "1795231272,m1,metadata,provider,libvirt",
            "1795231272,m1,state,running",
            "1795231272,m1,state-human-short,running",
            "1795231272,w1,state,shutoff",
            "1795231272,w2,state,poweroff",
            "1795231272,w3,state,not_created",
            "1795231272,w4,state,saved",
            "1795231272,w5,state,paused",
            "1795231272,,ui,info,Current machine states:%!(VAGRANT_COMMA) and so on",
        ]
    )
    assert parse_states(text) == {
        "m1": MachineState.RUNNING,
        "w1": MachineState.STOPPED,
        "w2": MachineState.STOPPED,
        "w3": MachineState.ABSENT,
        "w4": MachineState.PAUSED,
        "w5": MachineState.PAUSED,
    }


def test_ssh_config() -> None:
    text = """
Host m1
  HostName 192.168.121.7
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  IdentityFile "/var/lib/a b/private_key"
  IdentityFile /second

Host w1
  HostName 127.0.0.1
  User vagrant
  Port 2200
  IdentityFile /k
"""
    assert parse_ssh_config(text) == {
        "m1": HostEntry("192.168.121.7", 22, "vagrant", "/var/lib/a b/private_key"),
        "w1": HostEntry("127.0.0.1", 2200, "vagrant", "/k"),
    }


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("==> m1: Waiting for machine to boot.", ("m1", "Waiting for machine to boot.")),
        ("    w1: SSH address: 10.0.0.1:22", ("w1", "SSH address: 10.0.0.1:22")),
        ("==> m1: Progress: 13%", None),
        ("==> m1:  -- Keymap:            en-us", None),
        ("Bringing machine 'm1' up", None),
    ],
)
def test_progress(line: str, step: tuple[str, str] | None) -> None:
    assert parse_step(line) == step


def test_failures_say_what_to_do() -> None:
    missing = "==> m1: Checking\nVagrant could not detect VirtualBox! Make sure it is installed.\n"
    error = explain("up", missing)
    assert "could not detect VirtualBox" in error.text
    assert "Checking" not in error.text
    assert error.fix == "install VirtualBox, or set the option backend to libvirt"
    busy = explain("up", "another process is already executing an action on the machine. Retry.")
    assert isinstance(busy, LabBusy)
    assert explain("up", "Something new").fix == ""


def test_options_are_checked() -> None:
    assert parse_settings({}) == Settings()
    assert parse_settings({"libvirt": {"driver": "qemu"}}).emulated
    with pytest.raises(ProviderError, match='unknown option "kernel" of provider vagrant'):
        parse_settings({"kernel": "x"})
    with pytest.raises(ProviderError, match='backend of provider vagrant: "vmware"; use one of'):
        parse_settings({"backend": "vmware"})


def test_the_description_carries_machines_and_overrides() -> None:
    settings = parse_settings({"box": "b", "libvirt": {"driver": "qemu", "kernel": "/k"}})
    told = json.loads(description(LAB, settings))
    assert told["machines"] == [
        {
            "name": "m1",
            "role": "master",
            "address": "10.213.14.11",
            "cpus": 1.5,
            "memory_mib": 1024,
            "disk_mib": 4096,
            "pids": None,
        }
    ]
    assert told["network"]["host_address"] == "10.213.14.254"
    assert told["vagrant"]["libvirt"] == {"driver": "qemu", "kernel": "/k"}
    assert told["vagrant"]["box"] == "b"


def test_networks_that_virtualbox_refuses() -> None:
    virtualbox = Settings(backend="virtualbox")
    (problem,) = network_problems(LAB, virtualbox, "")
    assert "no host-only network 10.213.14.0/24" in problem.text
    assert '"* 10.213.14.0/24" to /etc/vbox/networks.conf' in problem.fix
    assert not list(network_problems(LAB, virtualbox, "# all\n* 10.0.0.0/8 2001::/64\n"))
    assert not list(network_problems(LAB, Settings(), ""))
    inside = replace(LAB, network=replace(LAB.network, subnet="192.168.57.0/24"))
    assert not list(network_problems(inside, virtualbox, ""))
