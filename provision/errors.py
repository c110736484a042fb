"""What can go wrong between the user and a running lab: one tree, each with the fix.

The command line prints `message` and `hint` and exits with `exit_code`; nobody sees a
traceback. Messages are lower-case and name the thing; hints say what the user can do.
"""

from __future__ import annotations

from typing import ClassVar


class ProvisionError(Exception):
    """Base of everything that the provisioner refuses or fails at."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class LabFileError(ProvisionError):
    """The lab file (or a flag that overrides it) is malformed; the message names the path."""

    exit_code = 2


class LabConflict(ProvisionError):
    """The request does not fit a lab that exists: taken name or subnet, changed shape."""

    exit_code = 3


class LabNotFound(ProvisionError):
    """There is no lab, or no machine, of that name."""

    exit_code = 4


class HostNotReady(ProvisionError):
    """This host lacks something: root, a kernel feature, a program, disk space."""

    exit_code = 5


class MachinesFailed(ProvisionError):
    """A provider failed to make, start, stop or remove a machine."""

    exit_code = 6


class MachineUnreachable(ProvisionError):
    """A machine does not answer over SSH, or answers with the wrong host key."""

    exit_code = 7


class RolesFailed(ProvisionError):
    """An Ansible role failed on a machine; the message carries the task and its output."""

    exit_code = 8


class NotReadyInTime(ProvisionError):
    """The machines run, but their nodes did not become Ready in time."""

    exit_code = 9


class KubeconfigProblem(ProvisionError):
    """The user's kubeconfig cannot be read or written."""

    exit_code = 10
