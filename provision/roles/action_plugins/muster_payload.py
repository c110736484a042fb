"""`muster_payload`: send a machine its payload and let `apply.py` bring the machine to it.

One command: the archive goes in by standard input, what changed comes back as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# A stage of its own, and one at a time: the child of a killed command may still be at work.
APPLY = (
    "set -e; umask 077; stage=$(mktemp -d /run/muster-payload.XXXXXX); "
    "trap 'rm -rf \"$stage\"' EXIT; "
    'tar -xf - -C "$stage"; '
    'flock -w 60 /run/muster-payload.lock /usr/bin/python3 -I "$stage/apply.py"'
)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible has no types
    TRANSFERS_FILES = True
    _requires_connection = True

    def run(self, tmp: object = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        archive = Path(self._task.args["archive"]).read_bytes()
        done = self._low_level_execute_command(APPLY, in_data=archive, sudoable=True)
        if done["rc"] != 0:
            raise AnsibleActionFail(f"payload not applied: {done['stderr'] or done['stdout']}")
        applied: dict[str, Any] = json.loads(done["stdout"])
        return result | applied
