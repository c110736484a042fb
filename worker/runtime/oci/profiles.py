"""What confines a container besides its capabilities: seccomp, AppArmor and SELinux.

CRI names a profile; here it is found, read and checked. What the node cannot give is refused:
a container never runs less confined than was asked.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import InvalidArgument, RuntimeFailure
from worker.runtime.oci import seccomp

DEFAULT_APPARMOR = "muster-default"
_PARSER_SECONDS = 30
_MAX_BYTES = 2 << 20
# For `RuntimeDefault` where the kernel has AppArmor: what /proc and /sys could give away.
_APPARMOR_POLICY = f"""
#include <tunables/global>
profile {DEFAULT_APPARMOR} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,
  signal (send,receive) peer={DEFAULT_APPARMOR},
  signal (receive) peer=unconfined,
  ptrace (trace,tracedby,read,readby) peer={DEFAULT_APPARMOR},
  unix peer=(label={DEFAULT_APPARMOR}),
  deny mount,
  deny @{{PROC}}/* w,
  deny @{{PROC}}/{{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}}/** w,
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def seccomp_profile(
    security: cri.LinuxContainerSecurityContext, granted: Iterable[str]
) -> dict[str, Any] | None:
    """The OCI `linux.seccomp` object; None for unconfined, as every privileged container is."""
    profile = security.seccomp
    if security.privileged or not security.HasField("seccomp"):
        return None
    if profile.profile_type == cri.SecurityProfile.Unconfined:
        return None
    kernel = os.uname()
    if profile.profile_type == cri.SecurityProfile.RuntimeDefault:
        return seccomp.default_profile(granted, kernel.machine)
    path = profile.localhost_ref
    return seccomp.parse_profile(_read(path), path, granted, kernel.machine, kernel.release)


def _read(path: str) -> bytes:
    """A profile's text: a plain file, whatever else may be at its path, and bounded."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(None, "not a regular file")
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise InvalidArgument(
            f'cannot load seccomp profile "{path}": open {path}: {(error.strerror or "").lower()}'
        ) from error


@dataclass(frozen=True, slots=True)
class AppArmor:
    """The kernel's AppArmor, as securityfs shows it."""

    securityfs: Path = Path("/sys/kernel/security/apparmor")
    enabled_file: Path = Path("/sys/module/apparmor/parameters/enabled")

    @property
    def enabled(self) -> bool:
        try:
            return self.securityfs.is_dir() and self.enabled_file.read_text().startswith("Y")
        except OSError:
            return False

    def profile_of(self, security: cri.LinuxContainerSecurityContext) -> str:
        """The profile to enter; "" for none. Blocks: the first default loads the policy."""
        profile = security.apparmor
        if security.privileged or not security.HasField("apparmor"):
            return ""
        if profile.profile_type == cri.SecurityProfile.Unconfined:
            return ""
        if not self.enabled:
            raise InvalidArgument("apparmor is not supported")
        name = profile.localhost_ref
        if profile.profile_type == cri.SecurityProfile.RuntimeDefault:
            name = DEFAULT_APPARMOR
            self._load_default()
        if not self._is_loaded(name):
            raise InvalidArgument(f"apparmor profile not found {name}")
        return name

    def _is_loaded(self, name: str) -> bool:
        listed = (self.securityfs / "profiles").read_text().splitlines()
        return any(line.rpartition(" (")[0] == name for line in listed)

    def _load_default(self) -> None:
        if self._is_loaded(DEFAULT_APPARMOR):
            return
        try:
            subprocess.run(
                ["apparmor_parser", "-Kr"], input=_APPARMOR_POLICY, text=True, check=True,
                capture_output=True, timeout=_PARSER_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise RuntimeFailure(f"apparmor profile {DEFAULT_APPARMOR}: {error}") from error


def selinux_label(security: cri.LinuxContainerSecurityContext) -> str:
    """The process label; "" where the kernel enforces none, as every runtime has it."""
    options = security.selinux_options
    parts = (options.user, options.role, options.type, options.level)
    if security.privileged or not all(parts) or not Path("/sys/fs/selinux/enforce").exists():
        return ""
    return ":".join(parts)
