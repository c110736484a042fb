"""A lab's resources in EC2: found by tag, made when missing, removed in the order AWS wants.

Every resource is tagged in the call that makes it, so a crash at any moment leaves nothing that
the next command would not find. Plain blocking calls; `provider` runs them in threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from provision.providers.base import LabSpec, MachineSpec, MachineState, ProviderError
from provision.providers.ec2.cloudinit import user_data
from provision.providers.ec2.errors import code_of
from provision.providers.ec2.settings import Settings, instance_type, volume_gib
from provision.providers.identity import Identity

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import ResourceTypeType
    from mypy_boto3_ec2.type_defs import (
        BlockDeviceMappingTypeDef,
        FilterTypeDef,
        InstanceTypeDef,
        TagSpecificationTypeDef,
        TagTypeDef,
    )

LAB_TAG = "muster:lab"
MACHINE_TAG = "muster:machine"
ROLE_TAG = "muster:role"
_DEBIAN = "136693071363"  # the account that publishes Debian's official images
_STATES = {
    "pending": MachineState.RUNNING,
    "running": MachineState.RUNNING,
    "stopping": MachineState.STOPPED,
    "stopped": MachineState.STOPPED,
}
_DEPENDENCY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Instance:
    id: str
    machine: str
    state: MachineState
    settled: bool  # neither pending nor stopping
    public_address: str | None


def connect(settings: Settings) -> EC2Client:
    session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
    config = Config(connect_timeout=10, retries={"mode": "standard", "max_attempts": 5})
    return session.client("ec2", endpoint_url=settings.endpoint_url, config=config)


class Cloud:
    """One lab's view of one region."""

    def __init__(self, client: EC2Client, lab: LabSpec, settings: Settings) -> None:
        self._client = client
        self._lab = lab
        self._settings = settings

    def instances(self) -> dict[str, Instance]:
        """The lab's instances by machine name. Terminated ones linger in AWS for an hour."""
        found: dict[str, Instance] = {}
        pages = self._client.get_paginator("describe_instances").paginate(Filters=self._mine())
        for page in pages:
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    known = _instance(instance)
                    if known is not None:
                        found[known.machine] = known
        return found

    def vpc(self) -> str | None:
        vpcs = self._client.describe_vpcs(Filters=self._mine())["Vpcs"]
        return vpcs[0]["VpcId"] if vpcs else None

    def vpc_cidr(self) -> str | None:
        vpcs = self._client.describe_vpcs(Filters=self._mine())["Vpcs"]
        return vpcs[0]["CidrBlock"] if vpcs else None

    def image(self) -> tuple[str, str]:
        """(id, root device) of the image to boot."""
        if self._settings.image:
            images = self._client.describe_images(ImageIds=[self._settings.image])["Images"]
        else:
            images = self._client.describe_images(
                Owners=[_DEBIAN],
                Filters=[
                    {"Name": "name", "Values": ["debian-12-amd64-*"]},
                    {"Name": "state", "Values": ["available"]},
                ],
            )["Images"]
        if not images:
            raise ProviderError("no image of Debian 12 in this region", "set the option image")
        newest = max(images, key=lambda image: image.get("CreationDate", ""))
        return newest["ImageId"], newest.get("RootDeviceName", "/dev/xvda")

    def may_run_instances(self, image: str, kind: str) -> None:
        """Ask whether AWS would allow it. Raises what it would say; starts nothing."""
        try:
            self._client.run_instances(
                ImageId=image,
                InstanceType=kind,  # type: ignore[arg-type]  # AWS knows which there are
                MinCount=1,
                MaxCount=1,
                DryRun=True,
            )
        except ClientError as error:
            # "Yes", and "yes, but there is no default VPC to do it in": we bring our own.
            if code_of(error) not in ("DryRunOperation", "VPCIdNotSpecified"):
                raise

    def ensure_network(self) -> tuple[str, str]:
        """(subnet, security group) of the lab, made as far as they are missing."""
        vpc = self.vpc() or self._make_vpc()
        subnet = self._ensure_subnet(vpc)
        self._ensure_gateway(vpc)
        return subnet, self._ensure_group(vpc)

    def ensure_key(self) -> str:
        """Import the lab's public key anew: instances copy it only when they first boot."""
        name = f"muster-{self._lab.name}"
        self._refuse_foreign_key(name)
        self._client.delete_key_pair(KeyName=name)
        self._client.import_key_pair(
            KeyName=name,
            PublicKeyMaterial=self._lab.ssh_public_key.encode(),
            TagSpecifications=self._tagged("key-pair", name),
        )
        return name

    def run(
        self, machine: MachineSpec, identity: Identity, subnet: str, group: str, key: str
    ) -> str:
        """Start one instance on the machine's own address. Returns its id."""
        image, root_device = self.image()
        made = self._client.run_instances(
            ImageId=image,
            InstanceType=instance_type(self._settings, machine),  # type: ignore[arg-type]  # as above
            MinCount=1,
            MaxCount=1,
            KeyName=key,
            UserData=user_data(machine, identity),
            BlockDeviceMappings=_disk(machine, root_device),
            NetworkInterfaces=[
                {
                    "DeviceIndex": 0,
                    "SubnetId": subnet,
                    "Groups": [group],
                    "PrivateIpAddress": machine.address,
                    "AssociatePublicIpAddress": True,
                    "DeleteOnTermination": True,
                }
            ],
            TagSpecifications=[
                *self._tagged("instance", self._full_name(machine), machine),
                *self._tagged("volume", self._full_name(machine), machine),
            ],
        )
        return made["Instances"][0]["InstanceId"]

    def route_for_pods(self, instance: str) -> None:
        """AWS drops packets that are not from or to an instance's own address, as pods' are not."""
        self._client.modify_instance_attribute(
            InstanceId=instance, SourceDestCheck={"Value": False}
        )

    def start(self, ids: Sequence[str]) -> None:
        self._client.start_instances(InstanceIds=ids)

    def stop(self, ids: Sequence[str], *, force: bool) -> None:
        self._client.stop_instances(InstanceIds=ids, Force=force)

    def wait_running(self, ids: Sequence[str]) -> None:
        self._client.get_waiter("instance_running").wait(InstanceIds=ids)

    def wait_stopped(self, ids: Sequence[str]) -> None:
        self._client.get_waiter("instance_stopped").wait(InstanceIds=ids)

    def terminate(self, ids: Sequence[str]) -> None:
        self._client.terminate_instances(InstanceIds=ids)
        self._client.get_waiter("instance_terminated").wait(InstanceIds=ids)

    def delete_network(self) -> None:
        """Everything but the instances, which must be gone. What is absent is passed over."""
        ec2, mine = self._client, self._mine()
        for group in ec2.describe_security_groups(Filters=mine)["SecurityGroups"]:
            _patiently(partial(ec2.delete_security_group, GroupId=group["GroupId"]))
        for subnet in ec2.describe_subnets(Filters=mine)["Subnets"]:
            _patiently(partial(ec2.delete_subnet, SubnetId=subnet["SubnetId"]))
        for gateway in ec2.describe_internet_gateways(Filters=mine)["InternetGateways"]:
            known = gateway["InternetGatewayId"]
            for attachment in gateway["Attachments"]:
                vpc = attachment["VpcId"]
                _patiently(partial(ec2.detach_internet_gateway, InternetGatewayId=known, VpcId=vpc))
            ec2.delete_internet_gateway(InternetGatewayId=known)
        for found in ec2.describe_vpcs(Filters=mine)["Vpcs"]:
            _patiently(partial(ec2.delete_vpc, VpcId=found["VpcId"]))
        for key in ec2.describe_key_pairs(Filters=mine)["KeyPairs"]:
            ec2.delete_key_pair(KeyName=key["KeyName"])

    def _make_vpc(self) -> str:
        made = self._client.create_vpc(
            CidrBlock=self._lab.network.subnet,
            TagSpecifications=self._tagged("vpc", f"muster-{self._lab.name}"),
        )
        vpc = made["Vpc"]["VpcId"]
        self._client.get_waiter("vpc_available").wait(VpcIds=[vpc])
        return vpc

    def _ensure_subnet(self, vpc: str) -> str:
        found = self._client.describe_subnets(Filters=self._mine())["Subnets"]
        if found:
            return found[0]["SubnetId"]
        made = self._client.create_subnet(
            VpcId=vpc,
            CidrBlock=self._lab.network.subnet,
            TagSpecifications=self._tagged("subnet", f"muster-{self._lab.name}"),
        )
        return made["Subnet"]["SubnetId"]

    def _ensure_gateway(self, vpc: str) -> None:
        """A way in and out, so that this host reaches the machines."""
        found = self._client.describe_internet_gateways(Filters=self._mine())["InternetGateways"]
        if found:
            gateway, attached = found[0]["InternetGatewayId"], bool(found[0]["Attachments"])
        else:
            made = self._client.create_internet_gateway(
                TagSpecifications=self._tagged("internet-gateway", f"muster-{self._lab.name}")
            )
            gateway, attached = made["InternetGateway"]["InternetGatewayId"], False
        if not attached:
            self._client.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        main: list[FilterTypeDef] = [
            {"Name": "vpc-id", "Values": [vpc]},
            {"Name": "association.main", "Values": ["true"]},
        ]
        table = self._client.describe_route_tables(Filters=main)["RouteTables"][0]
        if not any(r.get("DestinationCidrBlock") == "0.0.0.0/0" for r in table["Routes"]):
            self._client.create_route(
                RouteTableId=table["RouteTableId"],
                DestinationCidrBlock="0.0.0.0/0",
                GatewayId=gateway,
            )

    def _ensure_group(self, vpc: str) -> str:
        found = self._client.describe_security_groups(Filters=self._mine())["SecurityGroups"]
        if found:
            group = found[0]["GroupId"]
        else:
            group = self._client.create_security_group(
                GroupName=f"muster-{self._lab.name}",
                Description=f"Machines of Muster lab {self._lab.name}",
                VpcId=vpc,
                TagSpecifications=self._tagged("security-group", f"muster-{self._lab.name}"),
            )["GroupId"]
        self._allow(group)
        return group

    def _allow(self, group: str) -> None:
        ranges = [{"CidrIp": cidr} for cidr in self._settings.ingress]
        for permission in (
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
            *(
                {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges}
                for port in self._settings.ports
            ),
        ):
            try:
                self._client.authorize_security_group_ingress(
                    GroupId=group,
                    IpPermissions=[permission],  # type: ignore[list-item]  # it is one
                )
            except ClientError as error:
                if code_of(error) != "InvalidPermission.Duplicate":
                    raise

    def _refuse_foreign_key(self, name: str) -> None:
        everyones: list[FilterTypeDef] = [{"Name": "key-name", "Values": [name]}]
        for key in self._client.describe_key_pairs(Filters=everyones)["KeyPairs"]:
            if _tag(key.get("Tags", []), LAB_TAG) != self._lab.name:
                raise ProviderError(
                    f'key pair "{name}" exists and is not this lab\'s',
                    "delete it, or give the lab another name",
                )

    def _mine(self) -> list[FilterTypeDef]:
        return [{"Name": f"tag:{LAB_TAG}", "Values": [self._lab.name]}]

    def _full_name(self, machine: MachineSpec) -> str:
        return f"{self._lab.name}-{machine.name}"

    def _tagged(
        self, kind: ResourceTypeType, name: str, machine: MachineSpec | None = None
    ) -> list[TagSpecificationTypeDef]:
        tags: list[TagTypeDef] = [
            {"Key": "Name", "Value": name},
            {"Key": LAB_TAG, "Value": self._lab.name},
        ]
        if machine is not None:
            tags.append({"Key": MACHINE_TAG, "Value": machine.name})
            tags.append({"Key": ROLE_TAG, "Value": machine.role})
        return [{"ResourceType": kind, "Tags": tags}]


def _patiently(delete: Callable[[], object]) -> None:
    """What terminated instances leave, holds on to its network for some seconds."""
    deadline = time.monotonic() + _DEPENDENCY_SECONDS
    while True:
        try:
            delete()
        except ClientError as error:
            if code_of(error) != "DependencyViolation" or time.monotonic() > deadline:
                raise
            time.sleep(2.0)
        else:
            return


def _disk(machine: MachineSpec, root_device: str) -> list[BlockDeviceMappingTypeDef]:
    size = volume_gib(machine)
    if size is None:
        return []
    return [{"DeviceName": root_device, "Ebs": {"VolumeSize": size, "DeleteOnTermination": True}}]


def _instance(description: InstanceTypeDef) -> Instance | None:
    machine = _tag(description.get("Tags", []), MACHINE_TAG)
    state = description["State"]["Name"]
    if machine is None or state not in _STATES:
        return None
    return Instance(
        id=description["InstanceId"],
        machine=machine,
        state=_STATES[state],
        settled=state in ("running", "stopped"),
        public_address=description.get("PublicIpAddress"),
    )


def _tag(tags: Iterable[TagTypeDef], key: str) -> str | None:
    return next((tag.get("Value") for tag in tags if tag.get("Key") == key), None)
