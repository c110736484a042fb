"""The faults. One file each; this list names them, and makes the `faults` of a document of them."""

from __future__ import annotations

import typing

from drills.faults.bandwidth import Bandwidth
from drills.faults.base import Fault, HitPod, Needs, Scene, Workload
from drills.faults.block_ports import BlockPorts
from drills.faults.cpu_hog import CpuHog
from drills.faults.disk_full import DiskFull
from drills.faults.drain import Drain
from drills.faults.expire_certificate import ExpireCertificate
from drills.faults.fill_conntrack import FillConntrack
from drills.faults.flood_api import FloodApi
from drills.faults.flush_rules import FlushRules
from drills.faults.freeze import Freeze
from drills.faults.hang_component import HangComponent
from drills.faults.inodes_full import InodesFull
from drills.faults.kill_component import KillComponent
from drills.faults.kill_containers import KillContainers
from drills.faults.kill_pods import KillPods
from drills.faults.latency import Latency
from drills.faults.loss import Loss
from drills.faults.memory_hog import MemoryHog
from drills.faults.partition import Partition
from drills.faults.pid_hog import PidHog
from drills.faults.power_off import PowerOff
from drills.faults.reboot import Reboot
from drills.faults.restart_component import RestartComponent
from drills.faults.shutdown import Shutdown
from drills.faults.skew_clock import SkewClock
from drills.faults.slow_disk import SlowDisk
from drills.faults.stop_component import StopComponent
from drills.faults.unplug import Unplug

AnyFault = (
    PowerOff
    | Shutdown
    | Reboot
    | Freeze
    | Unplug
    | Partition
    | Loss
    | Latency
    | Bandwidth
    | BlockPorts
    | KillComponent
    | StopComponent
    | RestartComponent
    | HangComponent
    | SkewClock
    | ExpireCertificate
    | FlushRules
    | KillPods
    | KillContainers
    | Drain
    | CpuHog
    | MemoryHog
    | PidHog
    | DiskFull
    | InodesFull
    | SlowDisk
    | FillConntrack
    | FloodApi
)
ALL: tuple[type[Fault], ...] = typing.get_args(AnyFault)


def tag(kind: type[Fault] | Fault) -> str:
    """What a fault is called in a document."""
    name = kind.__struct_config__.tag
    assert isinstance(name, str)
    return name


__all__ = ["ALL", "AnyFault", "Fault", "HitPod", "Needs", "Scene", "Workload", "tag"]
