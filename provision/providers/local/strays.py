"""Labs that this host still runs, whoever remembers them: by namespaces, cgroups and a note.

The note, `/run/muster/labs/<lab>`, names the lab's state directory. It goes where the machines go,
with `destroy` or the next boot of this host, and so tells a lab of another MUSTER_STATE_DIR from
one whose directory was deleted.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from provision.providers.base import LabNetwork, LabSpec
from provision.providers.local import cgroupfs, network
from provision.providers.local.names import PREFIX, lab_of_netns

_NOTES = Path("/run/muster/labs")


def note(lab: LabSpec) -> None:
    _NOTES.mkdir(parents=True, exist_ok=True)
    (_NOTES / lab.name).write_text(f"{lab.state_dir}\n")


def forget(lab: str) -> None:
    (_NOTES / lab).unlink(missing_ok=True)
    for directory in (_NOTES, _NOTES.parent):
        with contextlib.suppress(OSError):  # of other labs, too
            directory.rmdir()


def noted(lab: str) -> Path | None:
    """The state directory of the lab, as it was when its machines were started."""
    try:
        return Path((_NOTES / lab).read_text().strip())
    except FileNotFoundError:
        return None


def labs(root: Path) -> dict[str, Path | None]:
    """Every lab of which this host has anything, below `root` or running, and the directory it was
    made from, if noted."""
    kept = {
        path.parent.parent.name: path.parent.parent for path in root.glob("*/machines/lab.json")
    }
    return {name: kept.get(name) or noted(name) for name in sorted({*kept, *running()})}


def running() -> set[str]:
    """The labs that have a namespace or a cgroup on this host."""
    return _pinned() | _controlled()


def spec(lab: str, state_dir: Path) -> LabSpec:
    """All that `destroy` has to know of a lab that nobody remembers."""
    nowhere = LabNetwork("0.0.0.0/32", "0.0.0.0", "0.0.0.0")  # noqa: S104 - no address is meant
    return LabSpec(lab, nowhere, (), state_dir, "", state_dir / "none")


def _pinned() -> set[str]:
    if not network.NETNS_DIRECTORY.is_dir():
        return set()
    found = (lab_of_netns(entry.name) for entry in network.NETNS_DIRECTORY.iterdir())
    return {name for name in found if name}


def _controlled() -> set[str]:
    return {
        entry.name.removeprefix(PREFIX)
        for hierarchy in cgroupfs.host_layout().hierarchies
        for entry in hierarchy.mountpoint.glob(f"{PREFIX}*")
        if entry.is_dir()
    }
