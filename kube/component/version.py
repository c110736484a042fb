"""The one version string that every process reports.

The Kubernetes minor is that of the schema from which the API's types are made (docs/api.md);
tools such as kubectl choose their own behaviour by it, and the alert KubeVersionMismatch counts
distinct values of it.
"""

from __future__ import annotations

import platform

from kube import __version__

MAJOR = "1"
MINOR = "37"
GIT_VERSION = f"v{MAJOR}.{MINOR}.0+muster-{__version__}"
# etcd's wire behaviour that the store follows. kube-apiserver parses it and needs at least
# 3.5.13 to ask for watch progress.
ETCD_VERSION = "3.5.21"
ETCD_CLUSTER_VERSION = "3.5.0"


def version_info() -> dict[str, str]:
    """The body of `GET /version`, shape of apimachinery's version.Info."""
    return {
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{architecture()}",
    }


def architecture() -> str:
    """The machine's architecture by its Go name (`amd64`, `arm64`), as node labels carry it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
