"""What faults of a machine's disk have in common: they never fill this host's."""

from __future__ import annotations

from typing import ClassVar

from drills.errors import NothingRan
from drills.faults.base import Fault, Needs, Scene
from provision.providers import declared

FOLDER = "/var/lib"


class OwnDiskFault(Fault, frozen=True, kw_only=True):
    """A fault of machines that have a disk of their own."""

    needs: ClassVar[Needs] = Needs()

    def refuse(self, scene: Scene) -> None:
        for name in scene.victims:
            shared = declared(scene.lab.provider.name).on_this_host
            if shared and scene.lab.spec.machine(name).disk_mib is None:
                raise NothingRan(
                    f"{name} has no disk of its own: this host's would be filled",
                    "name a size in the lab file, and not `local: {disk: none}`",
                )
