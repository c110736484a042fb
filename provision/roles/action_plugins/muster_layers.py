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


def unpack_command(name: str, digest: str) -> str:
    """Unpack beside the library, then move each top-level entry into place.

    The stamp goes first and comes last: a machine that loses power in between has no stamp and
    is sent the layer again.
    """
    new = f"{LIBRARY}/.new-{name}"
    return (
        f"set -e; umask 022; mkdir -p {LIBRARY}/lib; rm -rf {new} {LIBRARY}/{name}.stamp; "
        f"mkdir {new}; tar -xzf - -C {new}; "
        f"for new in {new}/*; do "
        f'rm -rf "{LIBRARY}/lib/${{new##*/}}"; mv "$new" {LIBRARY}/lib/; '
        f"done; "
        f"rmdir {new}; echo {digest} > {LIBRARY}/{name}.stamp"
    )
