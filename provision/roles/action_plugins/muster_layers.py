"""`muster_layers`: bring the code layers to a machine, each only if it does not have it.

Needs two short commands over the open connection where a copy module would need a Python
process per step, which is most of what a task costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

LIBRARY = "/opt/muster"
STAMPS = f"cat {LIBRARY}/*.stamp 2>/dev/null; true"
LOCK_SECONDS = 60


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible has no types
    TRANSFERS_FILES = True
    _requires_connection = True

    def run(self, tmp: object = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        present = self._remote(STAMPS, None, "look at the code").split()
        shipped = []
        for layer in self._task.args["layers"]:
            if layer["hash"] not in present:
                self._ship(layer)
                shipped.append(layer["name"])
        return result | {"changed": bool(shipped), "shipped": shipped}

    def _ship(self, layer: dict[str, str]) -> None:
        command = unpack_command(layer["name"], layer["hash"])
        self._remote(command, Path(layer["archive"]).read_bytes(), f"unpack {layer['name']}")

    def _remote(self, command: str, data: bytes | None, what: str) -> str:
        done = self._low_level_execute_command(command, in_data=data, sudoable=True)
        if done["rc"] != 0:
            raise AnsibleActionFail(f"could not {what}: {done['stderr'] or done['stdout']}")
        return str(done["stdout"])


def unpack_command(name: str, digest: str, library: str = LIBRARY) -> str:
    """Unpack beside the library, then move each top-level entry into place.

    One at a time on a machine, each in a directory of its own: a command that was killed may have
    left a child that still unpacks. An archive that is cut off fails tar's check (gzip ends with
    a sum) and changes nothing. The stamp goes before the swap and comes last: a machine that
    loses power in between has no stamp and is sent the layer again.
    """
    return (
        f"set -e; umask 022; mkdir -p {library}/lib; "
        f"exec 9> {library}/.lock; flock -w {LOCK_SECONDS} 9 || "
        "{ echo another unpacking does not end >&2; exit 1; }; "
        f"rm -rf {library}/.new-*; new=$(mktemp -d {library}/.new-{name}.XXXXXX); "
        "trap 'rm -rf \"$new\"' EXIT; "
        f'tar -xzf - -C "$new"; rm -f {library}/{name}.stamp; '
        'for entry in "$new"/*; do '
        f'rm -rf "{library}/lib/${{entry##*/}}"; mv "$entry" {library}/lib/; '
        f"done; "
        f"echo {digest} > {library}/{name}.stamp"
    )
