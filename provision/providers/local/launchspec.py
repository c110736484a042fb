"""What the provider tells the launcher of one machine, as JSON. Types only."""

from __future__ import annotations

from typing import TypedDict


class CgroupMountSpec(TypedDict):
    target: str
    kind: str
    options: str


class FileSpec(TypedDict):
    path: str
    content: str
    mode: int


class LaunchSpec(TypedDict):
    parent: int  # without this process the launch is called off
    hostname: str
    disk: str  # the machine's disk: a directory, or where `image` gets mounted
    image: str | None
    user_base: int | None  # the host's user that is root inside; None: no user namespace
    netns: str  # path of the pinned network namespace
    cgroup_procs: list[str]
    cgroup_mounts: list[CgroupMountSpec]
    cgroup_links: dict[str, str]
    directories: dict[str, int]
    files: list[FileSpec]
    links: dict[str, str]
    copies: dict[str, str]  # path in the machine -> the host's file
    every_boot: list[FileSpec]
    record: str  # where to write which process the machine is
    init: list[str]


class ProcessRecord(TypedDict):
    """Names one process for good: a pid alone gets recycled, also by the next boot."""

    pid: int
    start_ticks: int
    boot_id: str
