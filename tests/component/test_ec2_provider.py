"""The EC2 provider against moto's server: real HTTP, real boto3, AWS's own answers imitated."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from provision.providers.base import (
    LabNetwork,
    LabSpec,
    MachineSpec,
    MachineState,
    ProviderError,
    SshTarget,
    Unprepared,
)
from provision.providers.ec2.cloud import Cloud
from provision.providers.ec2.provider import Ec2Provider
from provision.providers.identity import new_host_key

REGION = "eu-north-1"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Made-up ones, and none of this host's own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def ec2(endpoint: str) -> Any:
    return boto3.client(
        "ec2",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@pytest.fixture(scope="module")
def image(ec2: Any) -> str:
    return str(ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"])


@pytest.fixture
def lab(endpoint: str, image: str, tmp_path: Path) -> LabSpec:
    _, public = new_host_key()
    return LabSpec(
        name="t-ec2",
        network=LabNetwork("10.213.11.0/24", "10.213.11.1", "10.213.11.254"),
        machines=(
            MachineSpec("m1", "master", "10.213.11.11", 2, 2048, 20480),
            MachineSpec("w1", "worker", "10.213.11.21", 1, 1024),
        ),
        state_dir=tmp_path / "t-ec2",
        ssh_public_key=public,
        ssh_private_key=tmp_path / "key",
        options={"region": REGION, "endpoint_url": endpoint, "image": image},
    )


@dataclass
class Reach:
    """Stands where SSH would answer: behind moto's instances there is no machine."""

    targets: dict[str, SshTarget] = field(default_factory=dict)
    refuse: str = ""

    async def __call__(self, name: str, target: SshTarget, seconds: float) -> None:
        if name == self.refuse:
            raise ProviderError(f'machine "{name}" does not answer')
        self.targets[name] = target


@pytest.fixture
def reach() -> Reach:
    return Reach()


@pytest.fixture
async def ec2_provider(lab: LabSpec, ec2: Any, reach: Reach) -> Any:
    """A provider whose region is as empty after the test as before."""
    before = resources(ec2)
    provider = Ec2Provider(reach)
    yield provider
    await provider.destroy(lab)
    assert resources(ec2) == before
    assert not lab.state_dir.exists()


def resources(ec2: Any) -> dict[str, set[str]]:
    alive = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]}]
    return {
        "instances": {
            i["InstanceId"]
            for r in ec2.describe_instances(Filters=alive)["Reservations"]
            for i in r["Instances"]
        },
        "vpcs": {x["VpcId"] for x in ec2.describe_vpcs()["Vpcs"]},
        "subnets": {x["SubnetId"] for x in ec2.describe_subnets()["Subnets"]},
        "groups": {x["GroupId"] for x in ec2.describe_security_groups()["SecurityGroups"]},
        "gateways": {
            x["InternetGatewayId"] for x in ec2.describe_internet_gateways()["InternetGateways"]
        },
        "keys": {x["KeyName"] for x in ec2.describe_key_pairs()["KeyPairs"]},
        "volumes": {x["VolumeId"] for x in ec2.describe_volumes()["Volumes"]},
        "tables": {x["RouteTableId"] for x in ec2.describe_route_tables()["RouteTables"]},
        "interfaces": {
            x["NetworkInterfaceId"] for x in ec2.describe_network_interfaces()["NetworkInterfaces"]
        },
    }


def instances(ec2: Any) -> dict[str, Any]:
    reservations = ec2.describe_instances(
        Filters=[
            {"Name": "tag:muster:lab", "Values": ["t-ec2"]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]},
        ]
    )["Reservations"]
    found = [i for r in reservations for i in r["Instances"]]
    tags = [{t["Key"]: t["Value"] for t in i["Tags"]} for i in found]
    return {t["muster:machine"]: i | {"tags": t} for t, i in zip(tags, found, strict=True)}


async def test_instances_with_fixed_addresses_tags_and_sizes(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any, reach: Reach
) -> None:
    said: list[tuple[str, str]] = []
    await ec2_provider.create(lab, lambda machine, text: said.append((machine, text)))
    found = instances(ec2)
    assert {n: i["PrivateIpAddress"] for n, i in found.items()} == {
        "m1": "10.213.11.11",
        "w1": "10.213.11.21",
    }
    assert found["m1"]["tags"]["Name"] == "t-ec2-m1"
    assert found["m1"]["tags"]["muster:role"] == "master"
    assert found["m1"]["InstanceType"] == "t3.small"
    assert found["w1"]["InstanceType"] == "t3.micro"
    assert not found["w1"]["SourceDestCheck"], "pods' packets would be dropped"
    volume = found["m1"]["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Size"] == 20
    assert set((await ec2_provider.states(lab)).values()) == {MachineState.RUNNING}
    assert ("m1", f"reachable by SSH at {reach.targets['m1'].host}") in said


async def test_only_ssh_and_the_api_are_open_to_the_world(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any
) -> None:
    narrow = replace(lab, options={**lab.options, "ingress": ["198.51.100.0/24"]})
    await ec2_provider.create(narrow)
    mine = [{"Name": "tag:muster:lab", "Values": ["t-ec2"]}]
    (group,) = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
    world = {
        (p.get("FromPort"), r["CidrIp"]) for p in group["IpPermissions"] for r in p["IpRanges"]
    }
    assert world == {(22, "198.51.100.0/24"), (6443, "198.51.100.0/24")}
    within = [p for p in group["IpPermissions"] if p["UserIdGroupPairs"]]
    assert [p["IpProtocol"] for p in within] == ["-1"]


async def test_ssh_goes_to_the_public_address_and_expects_our_host_key(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any
) -> None:
    await ec2_provider.create(lab)
    target = await ec2_provider.ssh_target(lab, "m1")
    found = instances(ec2)["m1"]
    assert (target.host, target.user) == (found["PublicIpAddress"], "admin")
    data = ec2.describe_instance_attribute(InstanceId=found["InstanceId"], Attribute="userData")
    told = base64.b64decode(data["UserData"]["Value"]).decode()
    assert target.host_key in told


async def test_creating_again_changes_nothing(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any
) -> None:
    await ec2_provider.create(lab)
    before = resources(ec2)
    await ec2_provider.create(lab)
    assert resources(ec2) == before


async def test_a_machine_can_be_added(ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any) -> None:
    await ec2_provider.create(lab)
    before = instances(ec2)
    added = MachineSpec("w2", "worker", "10.213.11.22", 1, 1024)
    await ec2_provider.create(replace(lab, machines=(*lab.machines, added)))
    after = instances(ec2)
    assert set(after) == {"m1", "w1", "w2"}
    assert after["m1"]["InstanceId"] == before["m1"]["InstanceId"]


async def test_stop_start_and_power_off(ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any) -> None:
    await ec2_provider.create(lab)
    address = (await ec2_provider.ssh_target(lab, "w1")).host_key
    await ec2_provider.stop(lab, ["w1"])
    states = await ec2_provider.states(lab)
    assert states == {"m1": MachineState.RUNNING, "w1": MachineState.STOPPED}
    await ec2_provider.stop(lab, ["w1"])
    await ec2_provider.power_off(lab)
    assert set((await ec2_provider.states(lab)).values()) == {MachineState.STOPPED}
    await ec2_provider.start(lab)
    assert set((await ec2_provider.states(lab)).values()) == {MachineState.RUNNING}
    assert instances(ec2)["w1"]["PrivateIpAddress"] == "10.213.11.21"
    assert (await ec2_provider.ssh_target(lab, "w1")).host_key == address


async def test_a_failed_create_is_rolled_back(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any, reach: Reach
) -> None:
    before = resources(ec2)
    reach.refuse = "w1"
    with pytest.raises(ProviderError, match='"w1" does not answer'):
        await ec2_provider.create(lab)
    assert resources(ec2) == before


async def test_a_failed_addition_leaves_the_rest_alone(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any, reach: Reach
) -> None:
    await ec2_provider.create(lab)
    before = resources(ec2)
    reach.refuse = "w2"
    added = MachineSpec("w2", "worker", "10.213.11.22", 1, 1024)
    with pytest.raises(ProviderError, match='"w2"'):
        await ec2_provider.create(replace(lab, machines=(*lab.machines, added)))
    assert resources(ec2) == before


async def test_a_failed_create_is_kept_on_request(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any, reach: Reach
) -> None:
    reach.refuse = "w1"
    with pytest.raises(ProviderError):
        await ec2_provider.create(lab, retain=True)
    assert set(instances(ec2)) == {"m1", "w1"}


@pytest.mark.parametrize("steps", ["vpc", "subnet", "gateway", "group", "key"])
async def test_a_half_made_lab_is_completed_and_removed(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any, steps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool dies after each step in turn; its tags are all that remains."""
    after = {
        "vpc": "_ensure_subnet",
        "subnet": "_ensure_gateway",
        "gateway": "_ensure_group",
        "group": "ensure_key",
        "key": "run",
    }

    def die(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Cloud, after[steps], die)
        with pytest.raises(RuntimeError):
            await ec2_provider.create(lab, retain=True)
    await ec2_provider.create(lab)
    assert set(instances(ec2)) == {"m1", "w1"}
    assert (
        len(ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.213.11.0/24"]}])["Vpcs"])
        == 1
    )


async def test_labs_do_not_touch_each_other(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any, tmp_path: Path
) -> None:
    other = replace(lab, name="t-ec2-other", state_dir=tmp_path / "other")
    await ec2_provider.create(lab)
    before = resources(ec2)
    await ec2_provider.create(other)
    await ec2_provider.destroy(other)
    assert resources(ec2) == before


async def test_the_same_name_with_another_subnet_is_refused(
    ec2_provider: Ec2Provider, lab: LabSpec
) -> None:
    await ec2_provider.create(lab)
    moved = replace(
        lab,
        network=LabNetwork("10.213.12.0/24", "10.213.12.1", "10.213.12.254"),
        machines=(MachineSpec("m1", "master", "10.213.12.11", 1, 1024),),
    )
    with pytest.raises(Unprepared, match=r"exists already in this region, with subnet 10\.213\.11"):
        await ec2_provider.create(moved)


async def test_a_key_pair_of_somebody_else_is_not_overwritten(
    ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any
) -> None:
    ec2.create_key_pair(KeyName="muster-t-ec2")
    try:
        with pytest.raises(ProviderError, match='key pair "muster-t-ec2" exists'):
            await ec2_provider.create(lab)
        assert ec2.describe_key_pairs(KeyNames=["muster-t-ec2"])["KeyPairs"]
    finally:
        ec2.delete_key_pair(KeyName="muster-t-ec2")


async def test_an_absent_lab(ec2_provider: Ec2Provider, lab: LabSpec) -> None:
    await ec2_provider.destroy(lab)
    await ec2_provider.stop(lab)
    await ec2_provider.resume(lab)
    assert set((await ec2_provider.states(lab)).values()) == {MachineState.ABSENT}
    with pytest.raises(ProviderError, match='"m1" does not exist'):
        await ec2_provider.start(lab)
    with pytest.raises(ProviderError, match="cannot freeze"):
        await ec2_provider.pause(lab)


async def test_checking_changes_nothing(ec2_provider: Ec2Provider, lab: LabSpec, ec2: Any) -> None:
    before = resources(ec2)
    assert await ec2_provider.check(lab) == []
    assert resources(ec2) == before


async def test_missing_credentials_are_one_clear_problem(
    lab: LabSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (problem,) = await Ec2Provider().check(lab)
    assert problem.text == "no AWS credentials"
    assert "aws configure" in problem.fix
    with pytest.raises(Unprepared, match="no AWS credentials"):
        await Ec2Provider().create(lab)
    assert not lab.state_dir.exists()


async def test_a_missing_region_is_named(lab: LabSpec) -> None:
    (problem,) = await Ec2Provider().check(replace(lab, options={}))
    assert problem.text == "no AWS region"


async def test_an_unreachable_endpoint_is_named(lab: LabSpec) -> None:
    dead = replace(lab, options={**lab.options, "endpoint_url": "http://127.0.0.1:9"})
    (problem,) = await Ec2Provider().check(dead)
    assert "127.0.0.1:9" in problem.text


async def test_an_unknown_option_is_named(lab: LabSpec) -> None:
    (problem,) = await Ec2Provider().check(replace(lab, options={"zone": "a"}))
    assert 'unknown option "zone"' in problem.text
