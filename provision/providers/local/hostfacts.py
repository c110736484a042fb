"""Reads what of the host's /usr a machine's /etc depends on. The rendering is in `etc`."""

from __future__ import annotations

from pathlib import Path

from provision.providers.local.etc import HostFacts

_UNITS = Path("/usr/lib/systemd/system")
_CERTIFICATES = Path("/usr/share/ca-certificates")
_BASE_PASSWD = Path("/usr/share/base-passwd")


def read_host_facts() -> HostFacts:
    return HostFacts(
        passwd=(_BASE_PASSWD / "passwd.master").read_text(),
        group=(_BASE_PASSWD / "group.master").read_text(),
        vendor_units=frozenset(unit.name for unit in _UNITS.glob("*.wants/*")),
        generators=_names(Path("/usr/lib/systemd/system-generators")),
        tmpfiles=_names(Path("/usr/lib/tmpfiles.d")),
        alternatives=_alternatives(),
        os_release=Path("/usr/lib/os-release").read_text(),
        certificates=_certificates(),
    )


def memory_mib() -> int:
    """What this host has in all (proc(5), meminfo)."""
    first = Path("/proc/meminfo").read_text().partition("\n")[0]
    return int(first.split()[1]) >> 10


def library_cache() -> dict[str, str]:
    """The dynamic linker's index of /usr: path in a machine -> the host's file."""
    files = [Path("/etc/ld.so.cache"), Path("/etc/ld.so.conf")]
    files += sorted(Path("/etc/ld.so.conf.d").glob("*.conf"))
    return {str(file).lstrip("/"): str(file) for file in files if file.is_file()}


def _names(directory: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in directory.glob("*"))


def _alternatives() -> dict[str, str]:
    """Debian's links of choice (iptables -> iptables-nft). Only those that stay within /usr."""
    links = {
        entry.name: str(entry.readlink())
        for entry in Path("/etc/alternatives").glob("*")
        if entry.is_symlink()
    }
    return {name: target for name, target in links.items() if target.startswith("/usr/")}


def _certificates() -> str:
    """The distribution's certificate authorities, without those an administrator added here."""
    return "".join(path.read_text() for path in sorted(_CERTIFICATES.glob("mozilla/*.crt")))
