"""Runs on a machine, as root: bring files and units to what the manifest beside it says.

Level-triggered: what is right already is left alone, and a run that was cut off is made up for
by the next. Needs nothing but the standard library. Prints what it changed as JSON.
"""

import grp
import hashlib
import json
import os
import pathlib
import pwd
import subprocess
import sys
from typing import Any

HERE = pathlib.Path(__file__).parent
RECORD = pathlib.Path("/var/lib/muster/payload.json")
OWN_DIRECTORIES = {pathlib.Path("/etc/kubernetes"), RECORD.parent}
STAMPS = pathlib.Path("/opt/muster")
SYSUSERS = "/etc/sysusers.d/muster.conf"
ENABLED = pathlib.Path("/etc/systemd/system/multi-user.target.wants")


def main() -> None:
    manifest = json.loads((HERE / "manifest.json").read_text())
    record = load_record()
    os.umask(0o022)
    open_directories(RECORD.parent)
    # The users first: files are theirs.
    paths = sorted(manifest["files"], key=lambda path: path != SYSUSERS)
    changed = [path for path in paths if place(path, manifest)]
    removed = remove_stale(manifest, record)
    actions = settle_units(manifest, record, bool(changed or removed))
    if any(p.startswith("/etc/sysctl.d/") for p in changed):
        subprocess.run(["sysctl", "-q", "--system"], check=False, capture_output=True)
    result: dict[str, Any] = {"files": changed, "removed": removed, **actions}
    result["changed"] = any(bool(value) for value in result.values())
    json.dump(result, sys.stdout)


def load_record() -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(RECORD.read_text())
        return record
    except (OSError, ValueError):
        return {"files": [], "units": {}}


def save_record(record: dict[str, Any]) -> None:
    write(RECORD, json.dumps(record).encode(), 0o600, (0, 0))


def place(path: str, manifest: dict[str, Any]) -> bool:
    """Write one file if it differs. True if it did."""
    entry = manifest["files"][path]
    content = (HERE / "files" / path.lstrip("/")).read_bytes()
    if entry["interface"]:
        content = content.replace(b"@INTERFACE@", interface_of(manifest["address"]).encode())
    target = pathlib.Path(path)
    owner = pwd.getpwnam(entry["owner"]).pw_uid, grp.getgrnam(entry["group"]).gr_gid
    open_directories(target.parent)
    if same(target, content, entry["mode"], owner):
        return False
    write(target, content, entry["mode"], owner)
    if path == SYSUSERS:
        subprocess.run(["systemd-sysusers", path], check=True, capture_output=True)
    return True


def open_directories(place: pathlib.Path) -> None:
    """Every user finds its own files; that others cannot read them is for their modes to say."""
    place.mkdir(parents=True, exist_ok=True)
    for directory in (place, *place.parents):
        if OWN_DIRECTORIES & {directory, *directory.parents}:
            directory.chmod(0o755)


def same(target: pathlib.Path, content: bytes, mode: int, owner: tuple[int, int]) -> bool:
    try:
        found = target.stat()
        right = (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, *owner)
        return right and target.read_bytes() == content
    except OSError:
        return False


def write(target: pathlib.Path, content: bytes, mode: int, owner: tuple[int, int]) -> None:
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        file.write(content)
    new.replace(target)


def interface_of(address: str) -> str:
    """The name of the interface that holds `address`."""
    shown = subprocess.run(["ip", "-j", "-4", "addr"], check=True, capture_output=True)
    for link in json.loads(shown.stdout):
        if any(a.get("local") == address for a in link.get("addr_info", [])):
            return str(link["ifname"])
    raise SystemExit(f"no interface has the address {address}")


def remove_stale(manifest: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Files and units of an earlier payload that this one no longer has."""
    gone = [unit for unit in record["units"] if unit not in {u["name"] for u in manifest["units"]}]
    if gone:
        systemctl("disable", "--now", "--quiet", *gone)
    stale = [path for path in record["files"] if path not in manifest["files"]]
    for path in stale:
        pathlib.Path(path).unlink(missing_ok=True)
    return stale


def settle_units(
    manifest: dict[str, Any], record: dict[str, Any], files_changed: bool
) -> dict[str, list[str]]:
    """Enable all, restart those whose inputs changed, start those that do not run."""
    digests = {unit["name"]: digest_of(unit) for unit in manifest["units"]}
    stale = [name for name, digest in digests.items() if record["units"].get(name) != digest]
    disabled = [name for name in digests if not (ENABLED / f"{name}.service").is_symlink()]
    if disabled:
        systemctl("enable", "--quiet", *disabled)
    if files_changed or stale:
        systemctl("daemon-reload")
    idle = [name for name in inactive(list(digests)) if name not in stale]
    # Not waited for: a member of the store becomes ready only once its peers run.
    if stale:
        systemctl("restart", "--no-block", *stale)
    if idle:
        systemctl("start", "--no-block", *idle)
    if stale or files_changed:
        save_record({"files": list(manifest["files"]), "units": digests})
    return {"enabled": disabled, "restarted": stale, "started": idle}


def digest_of(unit: dict[str, Any]) -> str:
    """What a running process was started from: unit file, inputs and, for ours, the code."""
    inputs = list(map(pathlib.Path, unit["inputs"]))
    if unit["code"]:
        inputs += sorted(STAMPS.glob("*.stamp"))
    digest = hashlib.sha256()
    for path in inputs:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def inactive(names: list[str]) -> list[str]:
    shown = subprocess.run(
        ["systemctl", "is-active", *names], check=False, capture_output=True, text=True
    )
    states = shown.stdout.split()
    return [n for n, state in zip(names, states, strict=True) if state in ("inactive", "failed")]


def systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
