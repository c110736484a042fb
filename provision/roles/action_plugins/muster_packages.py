"""`muster_packages`: install the Debian packages that a machine lacks.

A machine whose image has them all needs no mirror: it is asked first, by one short command, and
apt runs only for what is missing.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible has no types
    _requires_connection = True

    def run(self, tmp: object = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        wanted: list[str] = self._task.args["names"]
        done = self._low_level_execute_command(query_command(wanted), sudoable=False)
        if done["rc"] != 0:
            raise AnsibleActionFail(f"could not list the packages: {done['stderr']}")
        lacking = missing(wanted, str(done["stdout"]))
        if not lacking:
            return result
        module = {
            "name": lacking,
            "update_cache": True,
            "cache_valid_time": 86400,
            "install_recommends": False,
        }
        installed: dict[str, Any] = self._execute_module(
            module_name="ansible.builtin.apt", module_args=module, task_vars=task_vars
        )
        # apt's own log is long; what came is what the user wants to read.
        return result | installed | {"installed": lacking}


def query_command(names: Sequence[str]) -> str:
    """dpkg-query ends with 1 when it does not know one of the names: that is an answer too."""
    listing = shlex.join(["dpkg-query", "-W", "-f", r"${Package} ${db:Status-Status}\n", *names])
    return f"{listing} 2>/dev/null; [ $? -le 1 ]"


def missing(wanted: Sequence[str], listed: str) -> list[str]:
    """Of `wanted`, those that dpkg-query does not list as installed, in that order."""
    lines = (line.split() for line in listed.splitlines())
    installed = {words[0] for words in lines if words[1:] == ["installed"]}
    return [name for name in wanted if name not in installed]
