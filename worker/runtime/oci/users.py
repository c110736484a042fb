"""Who a container's process runs as: CRI fields, image config, /etc/passwd. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Identity:
    uid: int
    gid: int
    additional_gids: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class Accounts:
    """The texts of an image's /etc/passwd and /etc/group; "" when it has none."""

    passwd: str = ""
    group: str = ""


def identity(
    security: cri.LinuxContainerSecurityContext, image_user: str, accounts: Accounts
) -> Identity:
    """run_as_user, else run_as_username, else the image's `User` (`uid|name[:gid|group]`)."""
    if security.HasField("run_as_group") and not (
        security.HasField("run_as_user") or security.run_as_username
    ):
        raise InvalidArgument("run_as_group needs run_as_user or run_as_username")
    user_text, _, group_text = image_user.partition(":")
    if security.HasField("run_as_user"):
        user_text, group_text = str(security.run_as_user.value), ""
    elif security.run_as_username:
        user_text, group_text = security.run_as_username, ""
    name, uid, gid, home = _lookup_user(user_text or "0", accounts.passwd)
    if security.HasField("run_as_group"):
        gid = security.run_as_group.value
    elif group_text:
        gid = _lookup_group(group_text, accounts.group)
    groups = {gid, *security.supplemental_groups}
    if security.supplemental_groups_policy == cri.Merge and name:
        groups |= _member_of(name, accounts.group)
    return Identity(uid, gid, tuple(sorted(groups)), home)


def _lookup_user(text: str, passwd: str) -> tuple[str, int, int, str]:
    """(name, uid, gid, home) of a name or number; a number need not have an entry."""
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and text in (fields[0], fields[2]) and fields[3].isdigit():
            return fields[0], int(fields[2]), int(fields[3]), fields[5] or "/"
    if text.isdigit():
        return "", int(text), 0, "/"
    raise InvalidArgument(f'the image has no user "{text}" in /etc/passwd')


def _lookup_group(text: str, group: str) -> int:
    if text.isdigit():
        return int(text)
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[0] == text and fields[2].isdigit():
            return int(fields[2])
    raise InvalidArgument(f'the image has no group "{text}" in /etc/group')


def _member_of(name: str, group: str) -> set[int]:
    rows = (line.split(":") for line in group.splitlines())
    return {int(f[2]) for f in rows if len(f) >= 4 and f[2].isdigit() and name in f[3].split(",")}
