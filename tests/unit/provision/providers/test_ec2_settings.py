"""EC2 without EC2: options, sizes, reserved addresses, what AWS's errors mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError

from provision.providers.base import LabNetwork, LabSpec, MachineSpec, ProviderError
from provision.providers.ec2.cloudinit import user_data
from provision.providers.ec2.errors import explain, explained
from provision.providers.ec2.settings import (
    Settings,
    instance_type,
    network_problems,
    parse_settings,
    volume_gib,
)
from provision.providers.identity import Identity

MACHINE = MachineSpec("w1", "worker", "10.213.10.21", 2, 4096, 10_000)
LAB = LabSpec(
    name="t",
    network=LabNetwork("10.213.10.0/24", "10.213.10.1", "10.213.10.254"),
    machines=(MACHINE,),
    state_dir=Path("/nowhere/t"),
    ssh_public_key="ssh-ed25519 AAAA me",
    ssh_private_key=Path("/nowhere/key"),
)


def test_options_are_typed_and_unknown_ones_named() -> None:
    settings = parse_settings({"region": "eu-north-1", "ports": [22]})
    assert settings == Settings(region="eu-north-1", ports=(22,))
    with pytest.raises(ProviderError, match='unknown option "zone" of provider ec2; known are'):
        parse_settings({"zone": "a"})


@pytest.mark.parametrize(
    ("cpus", "memory", "expected"),
    [(1, 512, "t3.micro"), (2, 4096, "t3.medium"), (3, 1024, "t3.xlarge")],
)
def test_the_smallest_type_that_is_large_enough(cpus: float, memory: int, expected: str) -> None:
    assert instance_type(Settings(), replace(MACHINE, cpus=cpus, memory_mib=memory)) == expected


def test_no_type_is_large_enough() -> None:
    with pytest.raises(ProviderError, match='"w1"; choose an instance_type'):
        instance_type(Settings(), replace(MACHINE, cpus=64))
    assert instance_type(Settings(instance_type="c7i.16xlarge"), replace(MACHINE, cpus=64))


def test_disks_are_sold_by_the_gib() -> None:
    assert volume_gib(MACHINE) == 10
    assert volume_gib(replace(MACHINE, disk_mib=10_241)) == 11
    assert volume_gib(replace(MACHINE, disk_mib=None)) is None


@pytest.mark.parametrize("address", ["10.213.10.3", "10.213.10.255"])
def test_addresses_that_aws_keeps(address: str) -> None:
    lab = replace(LAB, machines=(replace(MACHINE, address=address),))
    (problem,) = network_problems(lab)
    assert f"AWS keeps {address} to itself" in problem.text
    assert problem.fix == "choose one from 10.213.10.4 to 10.213.10.254"


def test_subnets_that_aws_does_not_make() -> None:
    small = replace(LAB, network=replace(LAB.network, subnet="10.213.10.0/29"))
    (problem,) = network_problems(small)
    assert "a VPC is a /16 to /28" in problem.text
    assert list(network_problems(LAB)) == []


def test_the_instance_gets_the_host_key_that_we_expect() -> None:
    text = user_data(MACHINE, Identity("0" * 32, "PRIVATE\nKEY\n", "ssh-ed25519 HOST"))
    first, _, rest = text.partition("\n")
    assert first == "#cloud-config"
    config = json.loads(rest)
    assert config["hostname"] == "w1"
    assert config["ssh_keys"] == {
        "ed25519_private": "PRIVATE\nKEY\n",
        "ed25519_public": "ssh-ed25519 HOST",
    }


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("VcpuLimitExceeded", "Service Quotas"),
        ("VpcLimitExceeded", "Service Quotas"),
        ("AuthFailure", "aws configure"),
        ("UnauthorizedOperation", "permissions"),
        ("InvalidAMIID.NotFound", "differ by region"),
    ],
)
def test_refusals_say_what_to_do(code: str, fix: str) -> None:
    refusal = ClientError({"Error": {"Code": code, "Message": "no"}}, "RunInstances")
    error = explain(refusal)
    assert error.text == f"AWS refused RunInstances: no ({code})"
    assert fix in error.fix


def test_missing_credentials_and_region() -> None:
    with (
        pytest.raises(ProviderError, match="no AWS credentials; set AWS_ACCESS_KEY_ID"),
        explained(),
    ):
        raise NoCredentialsError
    with pytest.raises(ProviderError, match="no AWS region; set the option region"), explained():
        raise NoRegionError
