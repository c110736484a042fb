"""What AWS's errors mean to the user of a lab."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    WaiterError,
)

from provision.providers.base import ProviderError

_CREDENTIALS_FIX = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
_REGION_FIX = "set the option region, or AWS_DEFAULT_REGION"
_QUOTA_FIX = "remove what is not used, use smaller machines, or ask for more in Service Quotas"
_PERMISSION_FIX = "give this identity the EC2 permissions to make VPCs and instances"

# EC2 API reference, "Error codes".
_FIXES = {
    "AuthFailure": _CREDENTIALS_FIX,
    "ExpiredToken": "get fresh credentials",
    "InsufficientInstanceCapacity": "try again later, or another instance_type or region",
    "InstanceLimitExceeded": _QUOTA_FIX,
    "InternetGatewayLimitExceeded": _QUOTA_FIX,
    "InvalidAMIID.Malformed": "an image is called ami-... ",
    "InvalidAMIID.NotFound": "image ids differ by region: check the options image and region",
    "InvalidClientTokenId": _CREDENTIALS_FIX,
    "InvalidIPAddress.InUse": "another instance has the address: destroy the lab first",
    "InvalidInstanceType": "check the option instance_type",
    "InvalidParameterValue": "check the lab's sizes and addresses",
    "OptInRequired": "enable the region or accept the image's terms in the AWS console",
    "PendingVerification": "wait until AWS has verified the account",
    "RequestExpired": "set this host's clock",
    "RequestLimitExceeded": "wait for a moment and try again",
    "SecurityGroupLimitExceeded": _QUOTA_FIX,
    "SignatureDoesNotMatch": _CREDENTIALS_FIX,
    "UnauthorizedOperation": _PERMISSION_FIX,
    "Unsupported": "try another instance_type or region",
    "VcpuLimitExceeded": _QUOTA_FIX,
    "VolumeLimitExceeded": _QUOTA_FIX,
    "VpcLimitExceeded": _QUOTA_FIX,
}


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def explain(error: BotoCoreError | ClientError) -> ProviderError:
    """The same failure with what to do about it."""
    if isinstance(error, ClientError):
        code = code_of(error)
        message = error.response.get("Error", {}).get("Message", "")
        return ProviderError(
            f"AWS refused {error.operation_name}: {message} ({code})", _FIXES.get(code, "")
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ProviderError("no AWS credentials", _CREDENTIALS_FIX)
    if isinstance(error, NoRegionError):
        return ProviderError("no AWS region", _REGION_FIX)
    if isinstance(error, ProfileNotFound):
        return ProviderError(str(error), "check the option profile and ~/.aws/config")
    if isinstance(error, EndpointConnectionError):
        return ProviderError(str(error), "check the network, and the option region")
    if isinstance(error, WaiterError):
        return ProviderError(f"AWS takes too long: {error}", "look at the EC2 console")
    return ProviderError(f"AWS: {error}")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise explain(error) from error
